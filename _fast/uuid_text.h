/* Reads the 32 hexadecimal digits of a UUID without branches: every digit through a table, one check at the end. */
#ifndef SHARD_EXECUTOR_UUID_H
#define SHARD_EXECUTOR_UUID_H

#include <stdint.h>

/* A digit's value plus 16; 0 for every other byte, upper-case digits included: servers write lower case. */
static const uint8_t sx_digit[256] = {
    ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21, ['6'] = 22, ['7'] = 23,
    ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27, ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31,
};

static inline uint64_t sx_digits(const uint8_t *at, int count, uint8_t *valid) {
    uint64_t value = 0;
    for (int i = 0; i < count; i++) {
        const uint8_t digit = sx_digit[at[i]];
        *valid &= digit;
        value = value << 4 | (digit & 15);
    }
    return value;
}

/* 36 bytes, 8-4-4-4-12. Returns 0 and leaves the halves alone if they are no UUID in that spelling. */
static inline int sx_uuid(const uint8_t *at, uint64_t *high, uint64_t *low) {
    uint8_t valid = 16;
    const uint64_t a = sx_digits(at, 8, &valid), b = sx_digits(at + 9, 4, &valid), c = sx_digits(at + 14, 4, &valid);
    const uint64_t d = sx_digits(at + 19, 4, &valid), e = sx_digits(at + 24, 12, &valid);
    if (!(valid & 16) || at[8] != '-' || at[13] != '-' || at[18] != '-' || at[23] != '-') {
        return 0;
    }
    *high = a << 32 | b << 16 | c;
    *low = d << 48 | e;
    return 1;
}

#endif

/* Finds the end of JSON strings and of whole JSON containers, without reading what is inside.
 *
 * A container is skipped in blocks of 64 bytes. Each block becomes four 64-bit maps (quotes, backslashes, opening and
 * closing brackets); the quotes give the map of bytes inside strings, brackets outside strings are counted. Bytes
 * inside a skipped container are NOT validated: brackets must balance in number, braces and square brackets are not
 * told apart, numbers and literals are not looked at.
 *
 * No function reads past `end`: the last partial block is copied to a zeroed buffer first.
 * SSE2 belongs to every x86-64 processor; other machines use the portable twin, which tests run everywhere.
 */
#ifndef SHARD_EXECUTOR_JSON_SCAN_H
#define SHARD_EXECUTOR_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#define SX_HAVE_SSE2 1
#else
#define SX_HAVE_SSE2 0
#endif

#if defined(__GNUC__)
#define SX_INLINE static inline __attribute__((always_inline, unused))
#define SX_NOINLINE static __attribute__((noinline, unused))
#define SX_PREFETCH(address) __builtin_prefetch(address)
#else
#define SX_INLINE static inline
#define SX_NOINLINE static
#define SX_PREFETCH(address) ((void)(address))
#endif

typedef struct {
    uint64_t quote, backslash, open, close;
} sx_maps;

SX_INLINE int sx_count(uint64_t map) { /* population count; POPCNT is not part of baseline x86-64 */
    map -= (map >> 1) & 0x5555555555555555ull;
    map = (map & 0x3333333333333333ull) + ((map >> 2) & 0x3333333333333333ull);
    map = (map + (map >> 4)) & 0x0f0f0f0f0f0f0f0full;
    return (int)((map * 0x0101010101010101ull) >> 56);
}

SX_INLINE int sx_lowest(uint64_t map) { /* index of the lowest bit set; map is not 0 */
#if defined(__GNUC__)
    return __builtin_ctzll(map);
#else
    return sx_count((map & (0 - map)) - 1);
#endif
}

/* 0x20 turns '[' into '{' and ']' into '}' and no other byte into either. */
SX_INLINE sx_maps sx_maps_portable(const uint8_t *block) {
    sx_maps maps = {0, 0, 0, 0};
    for (int i = 0; i < 64; i++) {
        const uint8_t byte = block[i], folded = (uint8_t)(byte | 0x20);
        maps.quote |= (uint64_t)(byte == '"') << i;
        maps.backslash |= (uint64_t)(byte == '\\') << i;
        maps.open |= (uint64_t)(folded == '{') << i;
        maps.close |= (uint64_t)(folded == '}') << i;
    }
    return maps;
}

#if SX_HAVE_SSE2
SX_INLINE uint64_t sx_gather(__m128i a, __m128i b, __m128i c, __m128i d) {
    return (uint64_t)(uint32_t)_mm_movemask_epi8(a) | (uint64_t)(uint32_t)_mm_movemask_epi8(b) << 16 |
           (uint64_t)(uint32_t)_mm_movemask_epi8(c) << 32 | (uint64_t)(uint32_t)_mm_movemask_epi8(d) << 48;
}

SX_INLINE sx_maps sx_maps_sse2(const uint8_t *block) {
    const __m128i *at = (const __m128i *)block;
    const __m128i a = _mm_loadu_si128(at), b = _mm_loadu_si128(at + 1);
    const __m128i c = _mm_loadu_si128(at + 2), d = _mm_loadu_si128(at + 3);
    const __m128i fold = _mm_set1_epi8(0x20);
    const __m128i fa = _mm_or_si128(a, fold), fb = _mm_or_si128(b, fold);
    const __m128i fc = _mm_or_si128(c, fold), fd = _mm_or_si128(d, fold);
    sx_maps maps;
#define SX_EQUAL(byte, w, x, y, z)                                                                     \
    sx_gather(_mm_cmpeq_epi8(w, _mm_set1_epi8(byte)), _mm_cmpeq_epi8(x, _mm_set1_epi8(byte)),          \
              _mm_cmpeq_epi8(y, _mm_set1_epi8(byte)), _mm_cmpeq_epi8(z, _mm_set1_epi8(byte)))
    maps.quote = SX_EQUAL('"', a, b, c, d);
    maps.backslash = SX_EQUAL('\\', a, b, c, d);
    maps.open = SX_EQUAL('{', fa, fb, fc, fd);
    maps.close = SX_EQUAL('}', fa, fb, fc, fd);
#undef SX_EQUAL
    return maps;
}
#endif

/* `at` is just behind an opening bracket. Returns the place just behind the closing one, NULL where there is none. */
#define SX_SKIP_BODY(CLASSIFY)                                                                         \
    uint64_t inside = 0, carry = 0; /* inside: all ones while a string goes on into the block */       \
    int64_t depth = 1;                                                                                 \
    uint8_t last[64];                                                                                  \
    for (; at < end; at += 64) {                                                                       \
        const uint8_t *block = at;                                                                     \
        if (end - at < 64) {                                                                           \
            memset(last, 0, sizeof last);                                                              \
            memcpy(last, at, (size_t)(end - at));                                                      \
            block = last;                                                                              \
        }                                                                                              \
        sx_maps maps = CLASSIFY(block);                                                                \
        if (maps.backslash | carry) {                                                                  \
            uint64_t escaped = carry, slashes = maps.backslash & ~carry;                               \
            carry = 0;                                                                                 \
            while (slashes) {                                                                          \
                const uint64_t bit = slashes & (0 - slashes), next = bit << 1;                         \
                carry = next == 0; /* the block's last byte escapes the next block's first */          \
                escaped |= next;                                                                       \
                slashes &= ~(bit | next);                                                              \
            }                                                                                          \
            maps.quote &= ~escaped;                                                                    \
        }                                                                                              \
        uint64_t strings = maps.quote; /* prefix XOR: ones from each opening quote to its closing one */\
        strings ^= strings << 1;                                                                       \
        strings ^= strings << 2;                                                                       \
        strings ^= strings << 4;                                                                       \
        strings ^= strings << 8;                                                                       \
        strings ^= strings << 16;                                                                      \
        strings ^= strings << 32;                                                                      \
        strings ^= inside;                                                                             \
        inside = 0 - (strings >> 63);                                                                  \
        uint64_t open = maps.open & ~strings, close = maps.close & ~strings;                           \
        const uint64_t empty = open & close >> 1; /* the "{" of "{}": the pair changes nothing */      \
        open ^= empty;                                                                                 \
        close ^= empty << 1;                                                                           \
        if ((open | close) == 0) {                                                                     \
            continue;                                                                                  \
        }                                                                                              \
        const int closing = sx_count(close);                                                           \
        if (closing < depth) { /* cannot end here, whatever the order */                               \
            depth += sx_count(open) - closing;                                                         \
            continue;                                                                                  \
        }                                                                                              \
        int64_t before = 0;                                                                            \
        while (close) { /* at each closing bracket: opened so far against closed so far */             \
            const uint64_t bit = close & (0 - close);                                                  \
            before++;                                                                                  \
            if (depth + sx_count(open & (bit - 1)) == before) {                                        \
                return at + sx_lowest(bit) + 1;                                                        \
            }                                                                                          \
            close ^= bit;                                                                              \
        }                                                                                              \
        depth += sx_count(open) - closing;                                                             \
    }                                                                                                  \
    return NULL;

SX_NOINLINE const uint8_t *sx_skip_portable(const uint8_t *at, const uint8_t *end) { SX_SKIP_BODY(sx_maps_portable) }

#if SX_HAVE_SSE2
SX_NOINLINE const uint8_t *sx_skip(const uint8_t *at, const uint8_t *end) { SX_SKIP_BODY(sx_maps_sse2) }
#else
SX_NOINLINE const uint8_t *sx_skip(const uint8_t *at, const uint8_t *end) { return sx_skip_portable(at, end); }
#endif

/* `at` is just behind an opening quote. Returns the closing quote, NULL where there is none. */
SX_INLINE const uint8_t *sx_string_end(const uint8_t *at, const uint8_t *end, int *escaped) {
    *escaped = 0;
    while (at < end) {
#if SX_HAVE_SSE2
        if (end - at >= 16) {
            const __m128i bytes = _mm_loadu_si128((const __m128i *)at);
            const int found = _mm_movemask_epi8(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                                             _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))));
            if (found == 0) {
                at += 16;
                continue;
            }
            at += sx_lowest((uint64_t)(uint32_t)found);
        }
#endif
        if (*at == '"') {
            return at;
        }
        if (*at == '\\') {
            *escaped = 1;
            if (end - at < 2) {
                return NULL;
            }
            at++;
        }
        at++;
    }
    return NULL;
}

#endif

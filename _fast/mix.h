/* A fast 64-bit hash for short byte strings: fold the product of two 64-bit halves (the idea of wyhash).
 * Values live in one process only; they are never stored or sent.
 */
#ifndef SHARD_EXECUTOR_MIX_H
#define SHARD_EXECUTOR_MIX_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define SX_K0 0x9e3779b97f4a7c15ull
#define SX_K1 0xc2b2ae3d27d4eb4full

static inline uint64_t sx_fold(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    const uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    const uint64_t low = al * bl, m1 = ah * bl + (low >> 32), m2 = al * bh + (uint32_t)m1;
    return (m2 << 32 | (uint32_t)low) ^ (ah * bh + (m1 >> 32) + (m2 >> 32));
#endif
}

static inline uint64_t sx_load8(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return value;
}

static inline uint64_t sx_load4(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return value;
}

static inline uint64_t sx_hash(const uint8_t *at, size_t size, uint64_t seed) {
    uint64_t a = 0, b = 0;
    size_t left = size;
    seed ^= SX_K0;
    for (; left > 16; left -= 16, at += 16) {
        seed = sx_fold(sx_load8(at) ^ SX_K1, sx_load8(at + 8) ^ seed);
    }
    if (left >= 8) {
        a = sx_load8(at);
        b = sx_load8(at + left - 8);
    } else if (left >= 4) {
        a = sx_load4(at);
        b = sx_load4(at + left - 4);
    } else if (left > 0) {
        a = (uint64_t)at[0] << 16 | (uint64_t)at[left >> 1] << 8 | at[left - 1];
    }
    return sx_fold(SX_K1 ^ size, sx_fold(a ^ SX_K1, b ^ seed));
}

#endif

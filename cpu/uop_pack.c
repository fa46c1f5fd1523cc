// A packed uop is a word that tells what follows it: those of its small fields that are not what an unused one holds,
// and imm and param in as many bytes as they need. What does not fit this form stands there as it is.
#include "cpu/uop_pack.h"

#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "cpu/cpu.h"

// Bits of the word. The operation comes first.
#define OP_MASK 0x7fu
#define OP_WHOLE 0x7fu // the uop itself follows this byte
#define NEXT_INSN 7u   // one more than that of the uop before, which is 0 for the first one
#define WIDTH_AT 8u
#define IMM_AT 10u    // number of a size: 0, 1, 2, 4, 8 bytes, sign-extended
#define PARAM_AT 13u  // likewise, to 4 bytes
#define FIELDS_AT 16u // bit per byte of the fields below
#define FIELDS 6u
#define PAIR_AT 22u // 1 + what `code` is more than UOP_CODE_PAIRS; 0: it is UOP_CODE
#define PAIRS 63u
#define LENGTH_AT 28u // of what follows: where the next uop is, is what reading waits for
#define LENGTH_MAX 15u
#define WORD_BYTES 4u
_Static_assert(UOP_OPS < OP_WHOLE && WIDTH_64 == 3, "they fit");
_Static_assert(sizeof(struct uop) + 1 <= UOP_PACKED_MAX && WORD_BYTES + FIELDS + 8 + 4 <= UOP_PACKED_MAX, "likewise");

// A uop as three words of 64 bits, as hosts have them whose least byte is the first.
_Static_assert(sizeof(struct uop) == 24 && offsetof(struct uop, code) == 0 && offsetof(struct uop, op) == 2 &&
                   offsetof(struct uop, width) == 3 && offsetof(struct uop, dst) == 4 && offsetof(struct uop, c) == 7 &&
                   offsetof(struct uop, imm) == 8 && offsetof(struct uop, insn) == 16 &&
                   offsetof(struct uop, sub) == 17 && offsetof(struct uop, aux) == 18 &&
                   offsetof(struct uop, param) == 20,
               "unpack puts them together");

static const uint8_t size_bytes[8] = {0, 1, 2, 4, 8};

/// Number of the size that a signed value needs.
static unsigned size_of(int64_t value)
{
    static const uint8_t by_bytes[8] = {1, 2, 3, 3, 4, 4, 4, 4};
    uint64_t significant = (uint64_t)(value ^ value >> 63) << 1 | 1; // and the sign
    return value ? by_bytes[(63 - (unsigned)__builtin_clzll(significant)) / 8] : 0;
}

/// Fields that an operation does not use: VAR_NONE, VAR_ZERO.
#define UNUSED ((uint64_t)VAR_NONE | (uint64_t)VAR_ZERO << 8 | (uint64_t)VAR_ZERO << 16 | (uint64_t)VAR_ZERO << 24)

/// They are zero here.
static uint64_t fields_of(const struct uop *u)
{
    return UNUSED ^ (u->dst | (uint64_t)u->a << 8 | (uint64_t)u->b << 16 | (uint64_t)u->c << 24 |
                     (uint64_t)u->sub << 32 | (uint64_t)u->aux << 40);
}

static unsigned plain_code(const struct uop *u)
{
    return UOP_CODE(u->op, u->width, u->b == VAR_IMM, (u->aux & UOP_SETS_FLAGS) != 0);
}

static unsigned pair_of(const struct uop *u)
{
    return u->code < UOP_CODE_PAIRS ? 0 : u->code - UOP_CODE_PAIRS + 1u;
}

static bool fits_form(const struct uop *u, unsigned step)
{
    return step <= 1 && u->width <= WIDTH_64 && u->op < UOP_OPS && pair_of(u) <= PAIRS &&
           (pair_of(u) || u->code == plain_code(u));
}

static uint8_t *pack_whole(const struct uop *u, uint8_t *to)
{
    *to++ = OP_WHOLE;
    memcpy(to, u, sizeof *u);
    return to + sizeof *u;
}

/// NULL: it takes too many bytes.
static uint8_t *pack_one(const struct uop *u, unsigned step, uint8_t *to)
{
    unsigned imm = size_of(u->imm), param = size_of((int32_t)u->param);
    uint32_t word = u->op | step << NEXT_INSN | (uint32_t)u->width << WIDTH_AT | imm << IMM_AT | param << PARAM_AT |
                    pair_of(u) << PAIR_AT;
    uint64_t fields = fields_of(u);
    uint8_t *start = to;
    to += WORD_BYTES;
    for (unsigned i = 0; i < FIELDS; i++, fields >>= 8) {
        uint32_t there = (uint8_t)fields != 0;
        *to = (uint8_t)fields;
        to += there;
        word |= there << (FIELDS_AT + i);
    }
    store_le64(to, (uint64_t)u->imm);
    to += size_bytes[imm];
    store_le32(to, u->param);
    to += size_bytes[param];
    store_le32(start, word | (uint32_t)(to - start - WORD_BYTES) << LENGTH_AT);
    return to - start - WORD_BYTES <= LENGTH_MAX ? to : NULL;
}

size_t uop_pack(const struct uop *uops, unsigned count, uint8_t *to)
{
    const uint8_t *start = to;
    unsigned insn = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct uop *u = &uops[i];
        unsigned step = u->insn - insn;
        uint8_t *next = fits_form(u, step) ? pack_one(u, step, to) : NULL;
        to = next ? next : pack_whole(u, to);
        insn = u->insn;
    }
    return (size_t)(to - start);
}

// ---- back -----------------------------------------------------------------------------------------------------------
// Each of the fields that are there moves up by the number of those below it that are not. By the word's bits: which of
// them move by 0, 1, ... bytes.
#define BIT_OF(m, i) ((m) >> (i)&1u)
#define GAPS(m, i)                                                                                                     \
    ((i) - ((i) > 0) * BIT_OF(m, 0) - ((i) > 1) * BIT_OF(m, 1) - ((i) > 2) * BIT_OF(m, 2) - ((i) > 3) * BIT_OF(m, 3) - \
     ((i) > 4) * BIT_OF(m, 4))
#define MOVES(m, i, by) (BIT_OF(m, i) && GAPS(m, i) == (by) ? UINT64_C(0xff) << 8 * (i) : 0)
#define MOVED(m, by)                                                                                                   \
    (MOVES(m, 0u, by) | MOVES(m, 1u, by) | MOVES(m, 2u, by) | MOVES(m, 3u, by) | MOVES(m, 4u, by) | MOVES(m, 5u, by))
#define ROW(m)                                                                                                         \
    {                                                                                                                  \
        MOVED(m, 0), MOVED(m, 1), MOVED(m, 2), MOVED(m, 3), MOVED(m, 4), MOVED(m, 5)                                   \
    }
#define ROWS_4(m) ROW(m), ROW((m) + 1u), ROW((m) + 2u), ROW((m) + 3u)
#define ROWS_16(m) ROWS_4(m), ROWS_4((m) + 4u), ROWS_4((m) + 8u), ROWS_4((m) + 12u)
static const uint64_t moved[1u << FIELDS][FIELDS] = {ROWS_16(0u), ROWS_16(16u), ROWS_16(32u), ROWS_16(48u)};

static inline uint64_t spread(uint64_t packed, uint32_t there)
{
    const uint64_t *row = moved[there];
    return (packed & row[0]) | (packed << 8 & row[1]) | (packed << 16 & row[2]) | (packed << 24 & row[3]) |
           (packed << 32 & row[4]) | (packed << 40 & row[5]);
}

/// By a size's number: the bits that are there, and the highest of them.
static const struct {
    uint64_t bits, sign;
} sizes[8] = {{0, 0}, {0xff, 0x80}, {0xffff, 0x8000}, {UINT32_MAX, 0x80000000}, {UINT64_MAX, 0}};

/// The first bytes of a number, as many as its size has, sign-extended.
static inline uint64_t number(uint64_t bytes, unsigned size)
{
    return ((bytes & sizes[size].bits) ^ sizes[size].sign) - sizes[size].sign;
}

const uint8_t *uop_unpack(const uint8_t *from, struct uop *uops, unsigned count)
{
    // By the word's fields: bytes that follow.
    static const uint8_t ones[1u << FIELDS] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 1, 2, 2, 3, 2, 3,
                                               3, 4, 2, 3, 3, 4, 3, 4, 4, 5, 1, 2, 2, 3, 2, 3, 3, 4, 2, 3, 3, 4,
                                               3, 4, 4, 5, 2, 3, 3, 4, 3, 4, 4, 5, 3, 4, 4, 5, 4, 5, 5, 6};
    uint64_t insn = 0;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *number_at;
        uint8_t *to = (uint8_t *)&uops[i];
        uint32_t word = load_le32(from), op = word & OP_MASK, width = word >> WIDTH_AT & 3,
                 pair = word >> PAIR_AT & PAIRS;
        uint32_t there = word >> FIELDS_AT & ((1u << FIELDS) - 1), imm = word >> IMM_AT & 7,
                 param = word >> PARAM_AT & 7;
        uint64_t fields = UNUSED ^ spread(load_le64(from + WORD_BYTES), there);
        uint32_t code =
            UOP_CODE(op, width, (uint8_t)(fields >> 16) == VAR_IMM, (uint32_t)(fields >> 40) & UOP_SETS_FLAGS);
        if (UNLIKELY(op == OP_WHOLE)) {
            memcpy(to, from + 1, sizeof *uops);
            from += 1 + sizeof *uops;
            insn = uops[i].insn;
            continue;
        }
        insn += word >> NEXT_INSN & 1;
        code ^= -(uint32_t)(pair != 0) & (code ^ (UOP_CODE_PAIRS + pair - 1)); // without a branch
        number_at = from + WORD_BYTES + ones[there];
        from += WORD_BYTES + (word >> LENGTH_AT);
        store_le64(to, code | op << 16 | width << 24 | fields << 32);
        store_le64(to + 8, number(load_le64(number_at), imm));
        number_at += size_bytes[imm];
        store_le64(to + 16, insn | (fields >> 32) << 8 | number(load_le64(number_at), param) << 32);
    }
    return from;
}

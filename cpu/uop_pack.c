// A packed uop is a word of three bytes that tells what follows it: those of its small fields that are not zero, and
// imm and param in as many bytes as they need. What does not fit this form stands there as it is.
#include "cpu/uop_pack.h"

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
_Static_assert(UOP_OPS < OP_WHOLE && WIDTH_64 == 3, "they fit");
_Static_assert(sizeof(struct uop) + 1 <= UOP_PACKED_MAX && 3 + FIELDS + 8 + 4 <= UOP_PACKED_MAX, "and what follows");

static const uint8_t size_bytes[8] = {0, 1, 2, 4, 8};

/// Number of the size that a signed value needs.
static unsigned size_of(int64_t value)
{
    if (value == 0)
        return 0;
    if (value == (int8_t)value)
        return 1;
    if (value == (int16_t)value)
        return 2;
    return value == (int32_t)value ? 3 : 4;
}

/// Those that an operation does not use: VAR_NONE, VAR_ZERO.
#define UNUSED ((uint64_t)VAR_NONE | (uint64_t)VAR_ZERO << 8 | (uint64_t)VAR_ZERO << 16 | (uint64_t)VAR_ZERO << 24)

/// ... are zero here.
static uint64_t fields_of(const struct uop *u)
{
    return UNUSED ^ (u->dst | (uint64_t)u->a << 8 | (uint64_t)u->b << 16 | (uint64_t)u->c << 24 |
                     (uint64_t)u->sub << 32 | (uint64_t)u->aux << 40);
}

static uint8_t *pack_whole(const struct uop *u, uint8_t *to)
{
    *to++ = OP_WHOLE;
    memcpy(to, u, sizeof *u);
    return to + sizeof *u;
}

static uint8_t *pack_one(const struct uop *u, unsigned step, uint8_t *to)
{
    unsigned imm = size_of(u->imm), param = size_of((int32_t)u->param);
    uint32_t word = u->op | step << NEXT_INSN | (uint32_t)u->width << WIDTH_AT | imm << IMM_AT | param << PARAM_AT;
    uint64_t fields = fields_of(u);
    uint8_t *start = to;
    to += 3;
    for (unsigned i = 0; i < FIELDS; i++, fields >>= 8) {
        *to = (uint8_t)fields;
        to += (uint8_t)fields != 0;
        word |= (uint32_t)((uint8_t)fields != 0) << (FIELDS_AT + i);
    }
    store_le16(start, (uint16_t)word);
    start[2] = (uint8_t)(word >> 16);
    store_le64(to, (uint64_t)u->imm);
    to += size_bytes[imm];
    store_le32(to, u->param);
    return to + size_bytes[param];
}

size_t uop_pack(const struct uop *uops, unsigned count, uint8_t *to)
{
    const uint8_t *start = to;
    unsigned insn = 0;
    for (unsigned i = 0; i < count; i++) {
        const struct uop *u = &uops[i];
        unsigned step = u->insn - insn;
        if (step > 1 || u->width > WIDTH_64 || u->op >= OP_WHOLE)
            to = pack_whole(u, to);
        else
            to = pack_one(u, step, to);
        insn = u->insn;
    }
    return (size_t)(to - start);
}

/// The first bytes of a number, as many as its size has, sign-extended. In two steps: none are shifted out as well.
static inline int64_t number(uint64_t bytes, unsigned size)
{
    static const uint8_t half[8] = {32, 28, 24, 16, 0};
    return (int64_t)(bytes << half[size] << half[size]) >> half[size] >> half[size];
}

static inline uint8_t take_field(uint64_t *fields, uint32_t there)
{
    uint8_t field = (uint8_t)(*fields & -(uint64_t)(there & 1));
    *fields >>= (there & 1) * 8;
    return field;
}

const uint8_t *uop_unpack(const uint8_t *from, struct uop *uops, unsigned count)
{
    // By the word's fields, and by both sizes: bytes that follow.
    static const uint8_t ones[64] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 1, 2, 2, 3, 2, 3,
                                     3, 4, 2, 3, 3, 4, 3, 4, 4, 5, 1, 2, 2, 3, 2, 3, 3, 4, 2, 3, 3, 4,
                                     3, 4, 4, 5, 2, 3, 3, 4, 3, 4, 4, 5, 3, 4, 4, 5, 4, 5, 5, 6};
    unsigned insn = 0;
    for (unsigned i = 0; i < count; i++) {
        struct uop *u = &uops[i];
        uint32_t word = load_le32(from), there = word >> FIELDS_AT & ((1u << FIELDS) - 1);
        uint64_t fields = load_le64(from + 3);
        unsigned imm, param;
        if (UNLIKELY((word & OP_MASK) == OP_WHOLE)) {
            memcpy(u, from + 1, sizeof *u);
            from += 1 + sizeof *u;
            insn = u->insn;
            continue;
        }
        insn += word >> NEXT_INSN & 1;
        from += 3 + ones[there];
        imm = word >> IMM_AT & 7;
        param = word >> PARAM_AT & 7;
        u->imm = number(load_le64(from), imm);
        from += size_bytes[imm];
        u->param = (uint32_t)number(load_le64(from), param);
        from += size_bytes[param];
        u->code = 0;
        u->op = word & OP_MASK;
        u->width = word >> WIDTH_AT & 3;
        u->dst = VAR_NONE ^ take_field(&fields, there);
        u->a = VAR_ZERO ^ take_field(&fields, there >> 1);
        u->b = VAR_ZERO ^ take_field(&fields, there >> 2);
        u->c = VAR_ZERO ^ take_field(&fields, there >> 3);
        u->sub = take_field(&fields, there >> 4);
        u->aux = take_field(&fields, there >> 5);
        u->insn = (uint8_t)insn;
    }
    return from;
}

// Encoding of x86-64 instructions (SDM vol. 2 ch. 2). One routine writes prefixes, opcode and ModRM for all.
#include "translate/emit_x86_64.h"

#include <assert.h>
#include <string.h>

#define ESCAPE 0x0f00u // opcode constants: 0x0fXX is the two-byte opcode 0F XX, 0x0f38XX a three-byte one

// Which bytes an instruction has is different from one to the next: a branch for each would be mispredicted as often as
// not, and translation is bound by that. So they are put together by arithmetic.

/// Up to 8 bytes that are written at once.
struct bytes {
    uint64_t value;
    unsigned count;
};

/// 1 or 0, of which the compiler does not know that, so that it cannot make a branch of it.
static inline unsigned one_if(bool holds)
{
    unsigned value = holds;
    __asm__("" : "+r"(value));
    return value;
}

/// `count` bytes of value; what is above them is zero.
static inline void add(struct bytes *b, uint64_t value, unsigned count)
{
    b->value |= value << (8 * b->count);
    b->count += count;
}

static inline void add_where(struct bytes *b, bool holds, unsigned byte)
{
    unsigned count = one_if(holds);
    add(b, -(uint64_t)count & byte, count);
}

static inline void add_opcode(struct bytes *b, unsigned opcode)
{
    unsigned count = 1u + one_if(opcode > 0xff) + one_if(opcode > 0xffff);
    add(b, __builtin_bswap32(opcode) >> (32 - 8 * count), count);
}

static inline void put_bytes(struct emit *e, struct bytes b)
{
    emit_put(e, b.value, b.count);
}

static bool is_byte(int64_t value)
{
    return value == (int8_t)value;
}

/// Prefixes, REX and opcode for reg and rm (index for memory operands): up to 7 bytes. byte_reg, byte_rm: 8-bit
/// registers SPL..DIL need an otherwise empty REX. No bit 3 in HOST_NO_INDEX and the registers behind it.
static inline void add_head(struct bytes *b, unsigned prefix, unsigned width, unsigned opcode, uint8_t reg,
                            uint8_t index, uint8_t rm, bool need_rex)
{
    unsigned rex = (unsigned)(width == 3) << 3 | (reg & 8u) >> 1 | (index & 8u) >> 2 | (rm & 8u) >> 3;
    add_where(b, width == 1, 0x66);
    add_where(b, prefix != 0, prefix);
    add_where(b, rex | need_rex, 0x40 | rex);
    add_opcode(b, opcode);
}
_Static_assert(!((HOST_NO_INDEX | HOST_GS | HOST_STATE) & 8), "no REX for them");

static inline struct bytes head_of(unsigned prefix, unsigned width, unsigned opcode, uint8_t reg, uint8_t index,
                                   uint8_t rm, bool need_rex)
{
    struct bytes b = {0};
    add_head(&b, prefix, width, opcode, reg, index, rm, need_rex);
    return b;
}

static void put_head(struct emit *e, unsigned prefix, unsigned width, unsigned opcode, uint8_t reg, uint8_t index,
                     uint8_t rm, bool need_rex)
{
    put_bytes(e, head_of(prefix, width, opcode, reg, index, rm, need_rex));
}

static bool is_new_byte_register(unsigned width, uint8_t reg)
{
    return width == 0 && reg >= 4;
}

static inline unsigned two_registers(uint8_t reg, uint8_t rm)
{
    return 0xc0u | (reg & 7u) << 3 | (rm & 7u);
}

/// reg field and register rm: up to 7 bytes. For 8-bit operations the caller says which of the two is an 8-bit register
/// by width 0.
static inline struct bytes registers_of(unsigned width, unsigned opcode, uint8_t reg, uint8_t rm, bool reg_is_digit)
{
    bool need = is_new_byte_register(width, rm) | (!reg_is_digit & is_new_byte_register(width, reg));
    struct bytes b = head_of(0, width, opcode, reg, 0, rm, need);
    add(&b, two_registers(reg, rm), 1);
    return b;
}

static void put_registers(struct emit *e, unsigned width, unsigned opcode, uint8_t reg, uint8_t rm, bool reg_is_digit)
{
    put_bytes(e, registers_of(width, opcode, reg, rm, reg_is_digit));
}

/// ... with a byte behind it.
static void put_registers_byte(struct emit *e, unsigned width, unsigned opcode, uint8_t digit, uint8_t rm, uint8_t imm)
{
    struct bytes b = registers_of(width, opcode, digit, rm, true);
    add(&b, imm, 1);
    put_bytes(e, b);
}

/// ModRM, SIB and displacement. The base is no HOST_STATE.
static void put_address(struct emit *e, uint8_t reg, struct emit_memory m)
{
    struct bytes b = {0};
    unsigned gs = one_if(m.base == HOST_GS); // SIB without base: a displacement of 32 bits
    unsigned no_index = one_if(m.index == HOST_NO_INDEX), sib = one_if((m.base & 7) == HOST_RSP) | (no_index ^ 1) | gs;
    unsigned displaced = one_if(m.displacement != 0) | one_if((m.base & 7) == HOST_RBP);
    unsigned mod = (displaced & (gs ^ 1)) << one_if(!is_byte(m.displacement)); // 0, 1, 2: none, 1 byte, 4 bytes
    unsigned base = (m.base & 7u) ^ ((HOST_RBP ^ (HOST_GS & 7)) & -gs), rm = base ^ ((base ^ HOST_RSP) & -sib);
    add(&b, mod << 6 | (reg & 7u) << 3 | rm, 1);
    add(&b, -sib & ((unsigned)m.scale << 6 | ((m.index & 7u) | no_index << 2) << 3 | base), sib);
    add(&b, (uint32_t)m.displacement, mod * mod | gs << 2);
    put_bytes(e, b);
}

/// The places that have no number in an instruction. A base beside the segment's is shorter than an index.
static inline struct emit_memory encodable(const struct emit *e, struct emit_memory m)
{
    unsigned state = one_if(m.base == HOST_STATE);
    unsigned beside = one_if(m.base == HOST_GS) & one_if(m.index != HOST_NO_INDEX) & one_if(!m.scale);
    m.displacement += e->depth & -(int32_t)state;
    m.base ^= (uint8_t)(((HOST_STATE ^ HOST_RSP) & -state) | ((m.index ^ HOST_GS) & -beside));
    m.index ^= (uint8_t)((m.index ^ HOST_NO_INDEX) & -beside);
    return m;
}

static void put_memory_prefixed(struct emit *e, unsigned prefix, unsigned width, unsigned opcode, uint8_t reg,
                                struct emit_memory m, bool need_rex)
{
    struct bytes b = {0};
    add_where(&b, m.base == HOST_GS, 0x65);
    m = encodable(e, m);
    add_head(&b, prefix, width, opcode, reg, m.index, m.base, need_rex);
    put_bytes(e, b);
    put_address(e, reg, m);
}

static void put_memory(struct emit *e, unsigned width, unsigned opcode, uint8_t reg, struct emit_memory m,
                       bool reg_is_digit)
{
    put_memory_prefixed(e, 0, width, opcode, reg, m, !reg_is_digit & is_new_byte_register(width, reg));
}

/// Immediate of an operation: 1, 2 or 4 bytes.
static void put_imm(struct emit *e, unsigned width, int32_t value)
{
    emit_put(e, (uint32_t)value, 1u << (width < 2 ? width : 2));
}

// ---- moves --------------------------------------------------------------------------------------------------------
void emit_move(struct emit *e, unsigned width, uint8_t to, uint8_t from)
{
    put_registers(e, width, 0x88 | (width != 0), from, to, false);
}

void emit_move_imm(struct emit *e, uint8_t to, uint64_t value)
{
    if (value == (uint32_t)value) {
        put_head(e, 0, 2, 0xb8 | (to & 7u), 0, 0, to, false);
        emit_put(e, value, 4);
    } else if ((int64_t)value == (int32_t)value) {
        put_registers(e, 3, 0xc7, 0, to, true);
        emit_put(e, value & UINT32_MAX, 4);
    } else {
        put_head(e, 0, 3, 0xb8 | (to & 7u), 0, 0, to, false);
        emit_put(e, value, 8);
    }
}

void emit_move_later(struct emit *e, uint8_t to)
{
    put_head(e, 0, 3, 0xb8 | (to & 7u), 0, 0, to, false);
    emit_put(e, 0, 8);
}

void emit_load(struct emit *e, unsigned width, uint8_t to, struct emit_memory from)
{
    static const uint16_t opcode[] = {ESCAPE | 0xb6, ESCAPE | 0xb7, 0x8b, 0x8b};
    put_memory(e, width < 2 ? 2 : width, opcode[width], to, from, true);
}

void emit_store(struct emit *e, unsigned width, struct emit_memory to, uint8_t from)
{
    put_memory(e, width, 0x88 | (width != 0), from, to, false);
}

void emit_store_imm(struct emit *e, unsigned width, struct emit_memory to, int32_t value)
{
    put_memory(e, width, 0xc6 | (width != 0), 0, to, true);
    put_imm(e, width, value);
}

void emit_extend(struct emit *e, bool is_signed, unsigned from_width, uint8_t to, uint8_t from)
{
    if (from_width == 3) {
        emit_move(e, 3, to, from);
    } else if (from_width == 2) {
        if (is_signed)
            put_registers(e, 3, 0x63, to, from, false);
        else
            emit_move(e, 2, to, from);
    } else {
        unsigned opcode = ESCAPE | (is_signed ? 0xbeu : 0xb6u) | from_width;
        put_head(e, 0, is_signed ? 3 : 2, opcode, to, 0, from, is_new_byte_register(from_width, from));
        emit_put(e, two_registers(to, from), 1);
    }
}

void emit_lea(struct emit *e, unsigned width, uint8_t to, struct emit_memory address)
{
    put_memory(e, width, 0x8d, to, address, false);
}

void emit_exchange(struct emit *e, uint8_t a, uint8_t b)
{
    put_registers(e, 3, 0x87, a, b, false);
}

void emit_bswap(struct emit *e, unsigned width, uint8_t reg)
{
    put_head(e, 0, width, ESCAPE | 0xc8 | (reg & 7u), 0, 0, reg, false);
}

void emit_set(struct emit *e, unsigned condition, uint8_t to)
{
    put_registers(e, 0, ESCAPE | 0x90 | condition, 0, to, true);
}

void emit_set_memory(struct emit *e, unsigned condition, struct emit_memory to)
{
    put_memory(e, 0, ESCAPE | 0x90 | condition, 0, to, true);
}

void emit_cmov(struct emit *e, unsigned condition, unsigned width, uint8_t to, uint8_t from)
{
    put_registers(e, width, ESCAPE | 0x40 | condition, to, from, false);
}

// ---- arithmetic -----------------------------------------------------------------------------------------------------
void emit_alu(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, uint8_t from)
{
    put_registers(e, width, (unsigned)op << 3 | (width != 0), from, to, false);
}

/// Whether an immediate is written as a byte that the processor extends.
static bool has_byte(unsigned width, int32_t value)
{
    return (width != 0) & is_byte(width == 1 ? (int16_t)value : value);
}

void emit_alu_imm(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, int32_t value)
{
    bool byte = has_byte(width, value);
    put_registers(e, width, 0x80u | (width != 0) | (unsigned)byte << 1, (uint8_t)op, to, true);
    put_imm(e, byte ? 0 : width, value);
}

void emit_alu_load(struct emit *e, enum emit_alu op, unsigned width, uint8_t to, struct emit_memory from)
{
    put_memory(e, width, (unsigned)op << 3 | 2 | (width != 0), to, from, false);
}

void emit_alu_store(struct emit *e, enum emit_alu op, unsigned width, struct emit_memory to, uint8_t from)
{
    put_memory(e, width, (unsigned)op << 3 | (width != 0), from, to, false);
}

void emit_alu_memory_imm(struct emit *e, enum emit_alu op, unsigned width, struct emit_memory to, int32_t value)
{
    bool byte = has_byte(width, value);
    put_memory(e, width, 0x80u | (width != 0) | (unsigned)byte << 1, (uint8_t)op, to, true);
    put_imm(e, byte ? 0 : width, value);
}

void emit_test(struct emit *e, unsigned width, uint8_t a, uint8_t b)
{
    put_registers(e, width, 0x84 | (width != 0), b, a, false);
}

void emit_test_imm(struct emit *e, unsigned width, uint8_t a, int32_t value)
{
    put_registers(e, width, 0xf6 | (width != 0), 0, a, true);
    put_imm(e, width, value);
}

void emit_unary(struct emit *e, enum emit_unary op, unsigned width, uint8_t reg)
{
    put_registers(e, width, 0xf6 | (width != 0), (uint8_t)op, reg, true);
}

void emit_increment(struct emit *e, bool decrement, unsigned width, uint8_t reg)
{
    put_registers(e, width, 0xfe | (width != 0), decrement, reg, true);
}

void emit_shift_imm(struct emit *e, enum emit_shift op, unsigned width, uint8_t reg, unsigned count)
{
    put_registers_byte(e, width, 0xc0 | (width != 0), (uint8_t)op, reg, (uint8_t)count);
}

void emit_shift_cl(struct emit *e, enum emit_shift op, unsigned width, uint8_t reg)
{
    put_registers(e, width, 0xd2 | (width != 0), (uint8_t)op, reg, true);
}

void emit_double_shift(struct emit *e, bool left, unsigned width, uint8_t to, uint8_t from, unsigned count)
{
    put_registers(e, width, ESCAPE | (left ? 0xa4 : 0xac) | !count, from, to, false);
    if (count)
        emit_put(e, count, 1);
}

void emit_multiply(struct emit *e, unsigned width, uint8_t to, uint8_t from)
{
    put_registers(e, width, ESCAPE | 0xaf, to, from, false);
}

void emit_multiply_load(struct emit *e, unsigned width, uint8_t to, struct emit_memory from)
{
    put_memory(e, width, ESCAPE | 0xaf, to, from, false);
}

void emit_multiply_imm(struct emit *e, unsigned width, uint8_t to, uint8_t from, int32_t value)
{
    put_registers(e, width, 0x69, to, from, false);
    put_imm(e, width, value);
}

void emit_count(struct emit *e, enum emit_count op, bool scan, unsigned width, uint8_t to, uint8_t from)
{
    put_head(e, scan ? 0 : 0xf3, width, ESCAPE | (unsigned)op, to, 0, from, false);
    emit_put(e, two_registers(to, from), 1);
}

void emit_multiply_wide(struct emit *e, bool is_signed, unsigned width, uint8_t from)
{
    put_registers(e, width, 0xf6 | (width != 0), is_signed ? 5 : 4, from, true);
}

static inline struct bytes vex_of(struct emit_vex op, unsigned width, uint8_t reg, uint8_t second, uint8_t rm)
{
    unsigned first = (~reg & 8u) << 4 | 0x40u | (~rm & 8u) << 2 | op.map;
    unsigned last = (unsigned)(width == 3) << 7 | (~second & 15u) << 3 | op.prefix;
    return (struct bytes){.value = 0xc4u | first << 8 | last << 16 | (unsigned)op.opcode << 24 |
                                   (uint64_t)two_registers(reg, rm) << 32,
                          .count = 5};
}

void emit_vex(struct emit *e, struct emit_vex op, unsigned width, uint8_t reg, uint8_t second, uint8_t rm)
{
    put_bytes(e, vex_of(op, width, reg, second, rm));
}

void emit_rotate_right(struct emit *e, unsigned width, uint8_t to, uint8_t from, unsigned count)
{
    struct bytes b = vex_of((struct emit_vex){3, 3, 0xf0}, width, to, 0, from);
    add(&b, (uint8_t)count, 1);
    put_bytes(e, b);
}

void emit_bit(struct emit *e, enum emit_bit op, unsigned width, uint8_t reg, uint8_t index)
{
    put_registers(e, width, ESCAPE | 0x83 | (unsigned)op << 3, index, reg, false);
}

void emit_bit_imm(struct emit *e, enum emit_bit op, unsigned width, uint8_t reg, unsigned index)
{
    put_registers_byte(e, width, ESCAPE | 0xba, (uint8_t)op, reg, (uint8_t)index);
}

void emit_bit_memory(struct emit *e, struct emit_memory m, unsigned index)
{
    put_memory(e, 2, ESCAPE | 0xba, EMIT_BT, m, true);
    emit_put(e, index, 1);
}

// ---- vectors --------------------------------------------------------------------------------------------------------
void emit_vector_load(struct emit *e, unsigned bytes, uint8_t xmm, struct emit_memory from)
{
    if (bytes == 16) // MOVUPS
        put_memory_prefixed(e, 0, 2, ESCAPE | 0x10, xmm, from, false);
    else if (bytes == 8) // MOVQ
        put_memory_prefixed(e, 0xf3, 2, ESCAPE | 0x7e, xmm, from, false);
    else // MOVD
        put_memory_prefixed(e, 0x66, 2, ESCAPE | 0x6e, xmm, from, false);
}

void emit_vector_store(struct emit *e, unsigned bytes, struct emit_memory to, uint8_t xmm)
{
    if (bytes == 16)
        put_memory_prefixed(e, 0, 2, ESCAPE | 0x11, xmm, to, false);
    else if (bytes == 8)
        put_memory_prefixed(e, 0x66, 2, ESCAPE | 0xd6, xmm, to, false);
    else
        put_memory_prefixed(e, 0x66, 2, ESCAPE | 0x7e, xmm, to, false);
}

void emit_vector_registers(struct emit *e, struct emit_vector_op op, uint8_t reg, uint8_t rm)
{
    put_head(e, op.prefix, op.wide ? 3 : 2, op.opcode, reg, 0, rm, false);
    emit_put(e, two_registers(reg, rm), 1);
}

void emit_vector_memory(struct emit *e, struct emit_vector_op op, uint8_t reg, struct emit_memory m)
{
    put_memory_prefixed(e, op.prefix, op.wide ? 3 : 2, op.opcode, reg, m, false);
}

void emit_vector_plain(struct emit *e, struct emit_vector_op op)
{
    put_head(e, op.prefix, op.wide ? 3 : 2, op.opcode, 0, 0, 0, false);
}

/// Two bytes of prefix where they do.
static void put_vex(struct emit *e, struct emit_avx_op op, uint8_t reg, uint8_t second, uint8_t index, uint8_t rm)
{
    unsigned last = (~second & 15u) << 3 | (op.is_long ? 4u : 0u) | op.prefix, r = reg & 8 ? 0u : 0x80u;
    if (op.map == 1 && !op.wide && !(index & 8) && !(rm & 8)) {
        emit_put(e, 0xc5u | (r | last) << 8 | (unsigned)op.opcode << 16, 3);
        return;
    }
    unsigned first = r | (index & 8 ? 0u : 0x40u) | (rm & 8 ? 0u : 0x20u) | op.map;
    last |= op.wide ? 0x80u : 0u;
    emit_put(e, 0xc4u | first << 8 | last << 16 | (unsigned)op.opcode << 24, 4);
}

void emit_avx_registers(struct emit *e, struct emit_avx_op op, uint8_t reg, uint8_t second, uint8_t rm)
{
    put_vex(e, op, reg, second, 0, rm);
    emit_put(e, two_registers(reg, rm), 1);
}

void emit_avx_memory(struct emit *e, struct emit_avx_op op, uint8_t reg, uint8_t second, struct emit_memory m)
{
    if (m.base == HOST_STATE) {
        m.base = HOST_RSP;
        m.displacement += e->depth;
    }
    if (m.base == HOST_GS)
        emit_put(e, 0x65, 1);
    put_vex(e, op, reg, second, m.index, m.base);
    put_address(e, reg, m);
}

void emit_avx_plain(struct emit *e, struct emit_avx_op op)
{
    put_vex(e, op, 0, 0, 0, 0);
}

void emit_avx_load(struct emit *e, unsigned bytes, uint8_t ymm, struct emit_memory from)
{
    static const struct emit_avx_op movd = {1, 1, 0x6e, false, false}, movq = {1, 2, 0x7e, false, false},
                                    movups = {1, 0, 0x10, false, false}, movups_long = {1, 0, 0x10, false, true};
    emit_avx_memory(e, bytes == 32 ? movups_long : bytes == 16 ? movups : bytes == 8 ? movq : movd, ymm, 0, from);
}

void emit_avx_store(struct emit *e, unsigned bytes, struct emit_memory to, uint8_t ymm)
{
    static const struct emit_avx_op movd = {1, 1, 0x7e, false, false}, movq = {1, 1, 0xd6, false, false},
                                    movups = {1, 0, 0x11, false, false}, movups_long = {1, 0, 0x11, false, true};
    emit_avx_memory(e, bytes == 32 ? movups_long : bytes == 16 ? movups : bytes == 8 ? movq : movd, ymm, 0, to);
}

void emit_byte(struct emit *e, uint8_t value)
{
    emit_put(e, value, 1);
}

void emit_crc32(struct emit *e, unsigned width, uint8_t to, uint8_t from)
{
    put_head(e, 0xf2, width, 0x0f38f0u | (width != 0), to, 0, from, is_new_byte_register(width, from));
    emit_put(e, two_registers(to, from), 1);
}

// ---- x87 and control words ------------------------------------------------------------------------------------------
void emit_x87_registers(struct emit *e, unsigned escape, uint8_t modrm)
{
    emit_put(e, 0xd8u | escape, 1);
    emit_put(e, modrm, 1);
}

void emit_x87_memory(struct emit *e, unsigned escape, unsigned digit, struct emit_memory m)
{
    put_memory_prefixed(e, 0, 2, 0xd8u | escape, (uint8_t)digit, m, false);
}

void emit_load_mxcsr(struct emit *e, struct emit_memory from)
{
    put_memory_prefixed(e, 0, 2, ESCAPE | 0xae, 2, from, false);
}

void emit_store_mxcsr(struct emit *e, struct emit_memory to)
{
    put_memory_prefixed(e, 0, 2, ESCAPE | 0xae, 3, to, false);
}

// ---- control --------------------------------------------------------------------------------------------------------
emit_place emit_jump_if(struct emit *e, unsigned condition)
{
    emit_put(e, 0x0fu | (0x80u | condition) << 8, 6);
    return e->at - 4;
}

emit_place emit_jump(struct emit *e)
{
    emit_put(e, 0xe9, 5);
    return e->at - 4;
}

void emit_patch(struct emit *e, emit_place place, const uint8_t *target)
{
    if (!e->full)
        store_le32(place, (uint32_t)(target - (place + 4)));
}

void emit_jump_to(struct emit *e, const uint8_t *target)
{
    emit_patch(e, emit_jump(e), target);
}

void emit_jump_shortest(struct emit *e, const uint8_t *target)
{
    int64_t relative = target - (e->at + 2);
    if (!is_byte(relative)) {
        emit_jump_to(e, target);
        return;
    }
    emit_put(e, 0xebu | (unsigned)(uint8_t)relative << 8, 2);
}

void emit_jump_back_if(struct emit *e, unsigned condition, const uint8_t *target)
{
    int64_t relative = target - (e->at + 2);
    assert(e->full || is_byte(relative));
    emit_put(e, 0x70 | condition, 1);
    emit_put(e, (uint8_t)relative, 1);
}

emit_place emit_jump_if_short(struct emit *e, unsigned condition)
{
    emit_put(e, 0x70 | condition, 2);
    return e->at - 1;
}

void emit_patch_short(struct emit *e, emit_place place)
{
    ptrdiff_t relative = e->at - (place + 1);
    if (e->full)
        return;
    assert(is_byte(relative));
    *place = (uint8_t)relative;
}

void emit_jump_register(struct emit *e, uint8_t reg)
{
    put_registers(e, 2, 0xff, 4, reg, true);
}

void emit_jump_memory(struct emit *e, struct emit_memory to)
{
    put_memory(e, 2, 0xff, 4, to, true);
}

void emit_call_to(struct emit *e, const uint8_t *target)
{
    emit_put(e, 0xe8, 5);
    emit_patch(e, e->at - 4, target);
}

void emit_call_register(struct emit *e, uint8_t reg)
{
    put_registers(e, 2, 0xff, 2, reg, true);
}

void emit_push(struct emit *e, uint8_t reg)
{
    put_head(e, 0, 2, 0x50 | (reg & 7u), 0, 0, reg, false);
    e->depth += 8;
}

void emit_pop(struct emit *e, uint8_t reg)
{
    put_head(e, 0, 2, 0x58 | (reg & 7u), 0, 0, reg, false);
    e->depth -= 8;
}

void emit_push_memory(struct emit *e, struct emit_memory from)
{
    put_memory(e, 2, 0xff, 6, from, true);
    e->depth += 8;
}

void emit_pop_memory(struct emit *e, struct emit_memory to)
{
    e->depth -= 8; // the address is computed behind that (SDM vol. 2, POP)
    put_memory(e, 2, 0x8f, 0, to, true);
}

void emit_push_imm(struct emit *e, int32_t value)
{
    emit_put(e, (is_byte(value) ? 0x6a : 0x68) | (uint64_t)(uint32_t)value << 8, is_byte(value) ? 2 : 5);
    e->depth += 8;
}

void emit_push_flags(struct emit *e)
{
    emit_put(e, 0x9c, 1);
    e->depth += 8;
}

void emit_pop_flags(struct emit *e)
{
    emit_put(e, 0x9d, 1);
    e->depth -= 8;
}

void emit_set_carry(struct emit *e)
{
    emit_put(e, 0xf9, 1);
}

void emit_complement_carry(struct emit *e)
{
    emit_put(e, 0xf5, 1);
}

void emit_store_flags(struct emit *e)
{
    emit_put(e, 0x9e, 1);
}

emit_place emit_lea_relative(struct emit *e, uint8_t reg)
{
    put_head(e, 0, 3, 0x8d, reg, 0, 0, false);
    emit_put(e, (reg & 7u) << 3 | 5u, 1);
    emit_put(e, 0, 4);
    return e->at - 4;
}

emit_place emit_call(struct emit *e)
{
    emit_put(e, 0xe8, 5);
    return e->at - 4;
}

void emit_return(struct emit *e)
{
    emit_put(e, 0xc3, 1);
}

void emit_test_memory_imm(struct emit *e, struct emit_memory m, uint8_t value)
{
    put_memory_prefixed(e, 0, 2, 0xf6, 0, m, false);
    emit_put(e, value, 1);
}

void emit_fence(struct emit *e)
{
    emit_put(e, 0xf0ae0f, 3);
}

void emit_trap(struct emit *e)
{
    emit_put(e, 0x0b0f, 2);
}

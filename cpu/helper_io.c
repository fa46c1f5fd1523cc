// IN, OUT, INS, OUTS: permissions and the ports address space under the machine lock (SDM vol. 1 ch. 19).
#include "cpu/debug.h"
#include "cpu/privileged.h"
#include "cpu/segment.h"

bool io_check(struct cpu *cpu, uint16_t port, unsigned bytes)
{
    const struct segment *tr = &cpu->segment[SEG_TR];
    uint64_t offset, bits;
    struct mmu_fault fault;

    if (!cpu_is_protected(cpu) || (!cpu_is_vm86(cpu) && cpu->cpl <= cpu_iopl(cpu)))
        return true;
    if ((tr->rights & (SEGMENT_UNUSABLE | (SEGMENT_TYPE & ~2u))) != TYPE_TSS32 || tr->limit < 0x67)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + 0x66, 2, &offset, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    offset += port / 8;
    if (offset + 1 > tr->limit)
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    if (!mmu_read(&cpu->mmu, MMU_KERNEL, tr->base + offset, 2, &bits, &fault))
        return cpu_raise_mmu(cpu, &fault, false);
    if (bits >> (port & 7) & bits_mask(bytes))
        return cpu_raise_error(cpu, VECTOR_GP, 0);
    return true;
}

static void lock(struct cpu *cpu)
{
    if (cpu->outside.lock)
        cpu->outside.lock(cpu->outside.opaque);
}

static void unlock(struct cpu *cpu)
{
    if (cpu->outside.unlock)
        cpu->outside.unlock(cpu->outside.opaque);
}

/// A port access may change the memory map (PCI configuration, A20): that acts before the next instruction.
static void notice_map_change(struct cpu *cpu)
{
    if (atomic_load_explicit(&cpu->mmu.map_stale, memory_order_relaxed))
        cpu_request_poll(cpu);
}

uint64_t port_read(struct cpu *cpu, uint16_t port, unsigned bytes)
{
    uint64_t value;
    if (UNLIKELY(cpu->port_breakpoints))
        debug_port(cpu, port, bytes);
    if (!cpu->ports)
        return bits_mask(bytes * 8);
    lock(cpu);
    value = address_space_read(cpu->ports, port, bytes);
    unlock(cpu);
    notice_map_change(cpu);
    return value;
}

void port_write(struct cpu *cpu, uint16_t port, uint64_t value, unsigned bytes)
{
    if (UNLIKELY(cpu->port_breakpoints))
        debug_port(cpu, port, bytes);
    if (!cpu->ports)
        return;
    lock(cpu);
    address_space_write(cpu->ports, port, cut_bytes(value, bytes), bytes);
    unlock(cpu);
    notice_map_change(cpu);
}

/// a = port, imm = bytes; returns the value.
uint64_t helper_in(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    return io_check(cpu, (uint16_t)a, (unsigned)imm) ? port_read(cpu, (uint16_t)a, (unsigned)imm) : 0;
}

/// a = port, b = value, imm = bytes.
uint64_t helper_out(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    if (io_check(cpu, (uint16_t)a, (unsigned)imm))
        port_write(cpu, (uint16_t)a, b, (unsigned)imm);
    return 0;
}

// ---- INS, OUTS --------------------------------------------------------------------------------------------------

/// A register as wide as the address size.
static uint64_t address_register(const struct cpu *cpu, enum cpu_var var, unsigned bytes)
{
    return cut_bytes(cpu->var[var], bytes);
}

/// Linear address of `bytes` at segment:offset, with limit and rights (SDM vol. 3 sec. 5.3).
static bool data_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned bytes, bool write,
                        uint64_t *linear)
{
    const struct segment *s = &cpu->segment[segment];
    uint64_t last = offset + bytes - 1;
    bool code = s->rights & 8, inside, allowed;

    if (cpu_is_64(cpu)) {
        *linear = offset + (segment >= SEG_FS ? cpu_segment_base(cpu, segment) : 0);
        return true;
    }
    if (!code && (s->rights & 4))
        inside = offset > s->limit && last <= (s->rights & SEGMENT_DB ? 0xffffffff : 0xffff);
    else
        inside = last <= s->limit;
    allowed = !(s->rights & SEGMENT_UNUSABLE) && (write ? !code && (s->rights & 2) : !code || (s->rights & 2));
    if (!cpu_is_protected(cpu) || cpu_is_vm86(cpu))
        allowed = true;
    if (!inside || !allowed)
        return cpu_raise_error(cpu, segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
    *linear = (cpu_segment_base(cpu, segment) + offset) & 0xffffffff;
    return true;
}

struct string_io {
    bool out;
    unsigned bytes, address, segment;
    bool rep;
};

static bool string_io_once(struct cpu *cpu, const struct string_io *s)
{
    enum cpu_var pointer = s->out ? VAR_RSI : VAR_RDI;
    uint64_t offset = address_register(cpu, pointer, s->address), linear = 0, value;
    uint64_t step = cpu->var[VAR_FLAGS] & FLAG_DF ? -(uint64_t)s->bytes : s->bytes;
    uint16_t port = (uint16_t)cpu->var[VAR_RDX];
    struct mmu_handle handle;
    struct mmu_fault fault;

    if (!data_linear(cpu, s->segment, offset, s->bytes, !s->out, &linear))
        return false;
    if (!cpu_check_alignment(cpu, linear, s->bytes))
        return false;
    if (!mmu_access(&cpu->mmu, cpu->data_mode, s->out ? MMU_READ : MMU_WRITE, linear, s->bytes, &handle, &fault))
        return cpu_raise_mmu(cpu, &fault, s->segment == SEG_SS);
    if (s->out) {
        value = mmu_handle_load(&cpu->mmu, &handle);
        port_write(cpu, port, value, s->bytes);
    } else {
        value = port_read(cpu, port, s->bytes);
        mmu_handle_store(&cpu->mmu, &handle, value);
    }
    cpu_write_var(cpu, pointer, width_of(s->address), offset + step);
    return true;
}

/// Iterations after which a REP gives way to pins: a number that depends on guest state only.
#define STRING_IO_CHUNK 128

/// a = this RIP, b = next RIP, imm = out | bytes << 8 | address bytes << 16 | segment << 24 | rep << 32.
uint64_t helper_string_io(struct cpu *cpu, uint64_t a, uint64_t b, uint64_t imm)
{
    struct string_io s = {.out = imm & 1,
                          .bytes = imm >> 8 & 0xff,
                          .address = imm >> 16 & 0xff,
                          .segment = imm >> 24 & 0xff,
                          .rep = imm >> 32 & 1};
    uint64_t count;

    if (!io_check(cpu, (uint16_t)cpu->var[VAR_RDX], s.bytes))
        return 0;
    if (!s.rep)
        return string_io_once(cpu, &s) ? b : 0;
    for (unsigned i = 0; (count = address_register(cpu, VAR_RCX, s.address)) != 0; i++) {
        if (i == (cpu->mode & MODE_TF ? 1 : STRING_IO_CHUNK) || (i && cpu->leave)) {
            cpu->instructions -= cpu->counting; // counts once, when it ends
            cpu->var[VAR_FLAGS] |= FLAG_RF;
            cpu_request_poll(cpu);
            return a;
        }
        if (!string_io_once(cpu, &s))
            return 0;
        cpu_write_var(cpu, VAR_RCX, width_of(s.address), count - 1);
    }
    return b;
}

// Fetches the code of a block and lifts it.
#include "cpu/block_lift.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cpu/block.h"

static bool fetch_fault(struct cpu *cpu, const struct mmu_fault *fault)
{
    cpu_raise_mmu(cpu, fault, false);
    return false;
}

/// One byte of code from MMIO or over a page's end.
static bool fetch_byte(struct cpu *cpu, uint64_t linear, uint8_t *byte)
{
    struct mmu_handle handle;
    struct mmu_fault fault;
    if (!mmu_access(&cpu->mmu, cpu->fetch_mode, MMU_EXECUTE, linear, 1, &handle, &fault))
        return fetch_fault(cpu, &fault);
    *byte = (uint8_t)mmu_handle_load(&cpu->mmu, &handle);
    return true;
}

/// Gathers bytes one by one into the buffer until an instruction can be decoded: code in MMIO, or an instruction that
/// crosses into the next page. Not those behind CS's limit, which comes before faults of the page there (SDM vol. 3
/// table 6-2).
static bool fetch_slow(struct cpu *cpu, struct block_lifter *lifter, uint64_t linear, struct block_source *source)
{
    uint64_t mask = (cpu->mode & MODE_CODE_MASK) == MODE_CODE64 ? UINT64_MAX : UINT32_MAX;
    uint64_t room = block_code_room(cpu, cpu->var[VAR_RIP]);
    struct insn insn;
    source->bytes = source->buffer;
    for (source->available = 0; source->available < INSN_MAX_LENGTH + 1 && source->available < room;
         source->available++) {
        uint64_t at = (linear + source->available) & mask;
        if (source->available &&
            decode(lifter->rows, lifter->model, cpu->mode, source->buffer, source->available, &insn) != DECODE_MORE)
            return true;
        if (source->available && !(at & ~PAGE_MASK)) {
            struct mmu_fault fault;
            if (!mmu_fetch_page(&cpu->mmu, cpu->fetch_mode, at, &source->backing2, &fault))
                return fetch_fault(cpu, &fault);
            source->crosses = true;
        }
        if (!fetch_byte(cpu, at, &source->buffer[source->available]))
            return false;
    }
    return true;
}

uint64_t block_code_room(const struct cpu *cpu, uint64_t ip)
{
    uint32_t limit = cpu->segment[SEG_CS].limit;
    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return UINT64_MAX;
    return ip > limit ? 0 : (uint64_t)limit - ip + 1;
}

/// Lifts one instruction; false when it does not belong to this block any more.
static bool lift_one(struct block_lifter *lifter, struct cpu *cpu, struct lift *l, const struct block_source *source,
                     uint64_t room)
{
    struct insn insn;
    enum decode_status status =
        decode(lifter->rows, lifter->model, cpu->mode, source->bytes + l->offset, source->available - l->offset, &insn);
    bool first = l->insn_count == 0;

    if (status != DECODE_OK && !first)
        return false;
    if (status == DECODE_MORE) // the limit comes first
        insn.length = (uint8_t)source->available;
    if (status == DECODE_MORE || l->offset + insn.length > room) {
        if (!first)
            return false;
        status = DECODE_TOO_LONG; // beyond CS.limit: #GP(0) as well
        l->beyond_limit = true;
    }
    l->insn_offset[l->insn_count] = (uint16_t)l->offset;
    l->next_offset = l->offset + insn.length;
    if (status == DECODE_TOO_LONG)
        lift_raise_error(l, VECTOR_GP, 0);
    else if (status == DECODE_ILLEGAL)
        lift_raise(l, VECTOR_UD);
    else {
        l->partial[l->insn_count] = insn.row->attributes & ROW_PARTIAL;
        if ((insn.row->attributes & ROW_CPL0) && lift_cpl(l) != 0)
            lift_raise_error(l, VECTOR_GP, 0);
        else
            insn.row->lift(l, &insn);
        if (!l->ended && (insn.row->attributes & ROW_ENDS_BLOCK))
            lift_exit_next(l);
    }
    l->insn_count++;
    l->offset = l->next_offset;
    l->insn_offset[l->insn_count] = (uint16_t)l->offset;
    return !l->ended;
}

static void lift_block(struct block_lifter *lifter, struct cpu *cpu, const struct block_source *source, uint32_t mode)
{
    struct lift *l = &lifter->lift;
    uint64_t room = block_code_room(cpu, cpu->var[VAR_RIP]);
    unsigned most = mode & (MODE_ONE | MODE_TF) ? 1 : lifter->length;

    l->mode = mode;
    l->model = lifter->model;
    l->uop_count = l->insn_count = l->offset = l->next_offset = 0;
    l->next_temp = VAR_TEMP;
    l->ended = l->has_call = false;
    l->rip = cpu->var[VAR_RIP];
    l->linear_bits = cpu->mmu.linear_bits;
    l->branch = 0;
    l->branch_faults = l->beyond_limit = false;
    while (l->insn_count < most && l->uop_count < LIFT_MAX_UOPS - 64 && l->next_temp < VAR_ANCHOR - 40) {
        if (!lift_one(lifter, cpu, l, source, room))
            break;
    }
    if (!l->ended) {
        l->insn_count--; // the exit belongs to the last instruction
        lift_exit_next(l);
        l->insn_count++;
    }
}

static void check(struct block_lifter *lifter)
{
#ifdef DOPPEL_DEBUG_CHECKS
    struct error error = {0};
    if (!uop_verify(lifter->lift.uops, lifter->lift.uop_count, lifter->lift.partial, &error)) {
        fprintf(stderr, "%s\n", error.text);
        abort();
    }
#endif
}

static void log_block(const struct block_lifter *lifter, const struct cpu *cpu, const struct block_source *source)
{
    const struct lift *l = &lifter->lift;
    char text[160];
    uint64_t rip = cpu->var[VAR_RIP];
    struct insn insn;

    if (log_on_at(lifter->log, LOG_IN_ASM, rip)) {
        for (unsigned i = 0; i < l->insn_count; i++) {
            unsigned at = l->insn_offset[i];
            if (decode(lifter->rows, lifter->model, cpu->mode, source->bytes + at, source->available - at, &insn) !=
                DECODE_OK)
                snprintf(text, sizeof text, "(bad)");
            else
                disassemble(&insn, rip + at, text, sizeof text);
            log_print(lifter->log, LOG_IN_ASM, "%016" PRIx64 "  %s\n", rip + at, text);
        }
    }
    if (log_on_at(lifter->log, LOG_UOPS, rip)) {
        log_print(lifter->log, LOG_UOPS, "block %016" PRIx64 " mode %x\n", rip, l->mode);
        for (unsigned i = 0; i < l->uop_count; i++) {
            uop_print(&l->uops[i], text, sizeof text);
            log_print(lifter->log, LOG_UOPS, "  %2u %s\n", l->uops[i].insn, text);
        }
    }
}

bool block_lift(struct block_lifter *lifter, struct cpu *cpu, uint64_t linear, uint32_t mode,
                struct block_source *source)
{
    struct insn insn;
    if (source->backing != UINT64_MAX) {
        source->bytes = lifter->memory->host + source->backing;
        source->available = PAGE_SIZE - (unsigned)(source->backing & ~PAGE_MASK);
    }
    if (source->backing == UINT64_MAX ||
        (source->available <= INSN_MAX_LENGTH &&
         decode(lifter->rows, lifter->model, cpu->mode, source->bytes, source->available, &insn) == DECODE_MORE)) {
        if (!fetch_slow(cpu, lifter, linear, source))
            return false;
    }
    lift_block(lifter, cpu, source, mode);
    check(lifter);
    log_block(lifter, cpu, source);
    return true;
}

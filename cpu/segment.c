// Segment limit and rights checks; alignment checks.
#include "cpu/segment.h"

#include "cpu/privileged.h"

static bool rights_forbid(const struct cpu *cpu, const struct segment *s, bool write)
{
    uint32_t type = s->rights & SEGMENT_TYPE;
    if (!(cpu->mode & MODE_PROTECTED) || (cpu->mode & MODE_VM86))
        return false;
    if (s->rights & SEGMENT_UNUSABLE)
        return true;
    if (type & 8) // code: readable at most
        return write || !(type & 2);
    return write && !(type & 2);
}

uint64_t cpu_segment_linear(struct cpu *cpu, unsigned segment, uint64_t offset, unsigned bytes, bool write)
{
    const struct segment *s = &cpu->segment[segment];
    bool expand_down = (s->rights & 0xc) == 0x4, outside;
    uint64_t last;

    if ((cpu->mode & MODE_CODE_MASK) == MODE_CODE64)
        return segment == SEG_FS || segment == SEG_GS ? offset + cpu->var[VAR_ES_BASE + segment] : offset;
    offset = (uint32_t)offset;
    last = offset + bytes - 1;
    if (rights_forbid(cpu, s, write))
        return cpu_raise_error(cpu, segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
    if (expand_down)
        outside = offset <= s->limit || last > (s->rights & SEGMENT_DB ? UINT32_MAX : 0xffffu);
    else
        outside = last > s->limit;
    if (outside)
        return cpu_raise_error(cpu, segment == SEG_SS ? VECTOR_SS : VECTOR_GP, 0);
    return (uint32_t)(offset + cpu->var[VAR_ES_BASE + segment]);
}

bool cpu_raise_alignment(struct cpu *cpu, uint64_t linear)
{
    if (cpu_is_long(cpu) && !cpu_canonical(cpu, linear))
        return true;
    return cpu_raise_error(cpu, VECTOR_AC, 0);
}

// Which accesses of a block need no check of their own, because they lie beside one that was checked.
//
// Addresses are numbered: an address is a base (a value that some variable had at some place, or a sum of two) plus a
// constant. Accesses with the same base whose bytes lie close together form a group. Its first access, the leader,
// checks the page of all of them at once; the others use the leader's handle with a displacement. A group never spans a
// CALL, after which a page may be mapped elsewhere.
#include "translate/passes.h"

#include <stdlib.h>
#include <string.h>

#define FRESH VAR_COUNT // names of bases: variables at the start, then these

static struct pass_value unknown(struct pass_numbering *n)
{
    return (struct pass_value){.base = n->fresh++, .bits = 64};
}

/// A value for arithmetic of a width. What was cut to 32 bits has no known constant in 64 bits.
static struct pass_value operand(struct pass_numbering *n, unsigned var, unsigned width)
{
    if (width == WIDTH_64 && n->value[var].cut) {
        uint8_t bits = n->value[var].bits;
        n->value[var] = unknown(n);
        n->value[var].bits = bits;
    }
    return n->value[var];
}

/// The name of a sum of two bases, the second one shifted.
static uint16_t name_sum(struct pass_numbering *n, uint16_t a, uint16_t b, unsigned scale)
{
    struct pass_sum *sum = n->sum;
    for (; sum < n->sum + n->sum_count; sum++) {
        if (sum->base[0] == a && sum->base[1] == b && sum->scale == scale)
            return sum->name;
    }
    if (n->sum_count == PASS_SUMS)
        return n->fresh++;
    n->sum_count++;
    *sum = (struct pass_sum){.base = {a, b}, .scale = (uint8_t)scale, .name = n->fresh++};
    return sum->name;
}

static struct pass_value effective(struct pass_numbering *n, const struct uop *u)
{
    struct pass_value a, b;
    if (u->width < WIDTH_32 || u->b == VAR_IMM)
        return unknown(n);
    a = operand(n, u->a, u->width);
    a.constant += (uint64_t)u->imm;
    a.cut = u->width == WIDTH_32;
    if (u->b != VAR_ZERO) {
        b = operand(n, u->b, u->width);
        a.constant += b.constant << u->sub;
        a.base = name_sum(n, a.base, b.base, u->sub);
    }
    return a;
}

/// dst = a + addend.
static struct pass_value moved(struct pass_numbering *n, const struct uop *u, unsigned var, uint64_t addend)
{
    struct pass_value v;
    if (u->width < WIDTH_32)
        return unknown(n);
    v = operand(n, var, u->width);
    v.constant += addend;
    v.cut = u->width == WIDTH_32;
    return v;
}

static struct pass_value result(struct pass_numbering *n, const struct uop *u)
{
    switch (u->op) {
    case UOP_MOV:
        if (u->b != VAR_IMM)
            return moved(n, u, u->b, 0);
        return unknown(n);
    case UOP_EA:
        return effective(n, u);
    case UOP_ADD:
        return u->b == VAR_IMM ? moved(n, u, u->a, (uint64_t)u->imm) : unknown(n);
    case UOP_SUB:
        return u->b == VAR_IMM ? moved(n, u, u->a, -(uint64_t)u->imm) : unknown(n);
    case UOP_INC:
        return moved(n, u, u->a, 1);
    case UOP_DEC:
        return moved(n, u, u->a, UINT64_MAX);
    default:
        return unknown(n);
    }
}

/// How many bits the result may have, of 64.
static unsigned result_bits(const struct pass_numbering *n, const struct uop *u)
{
    unsigned width = 8u << u->width, bits = width, count = (unsigned)u->imm & (width - 1);
    if (width < 32)
        return 64;
    switch (u->op) {
    case UOP_MOV:
        bits = u->b == VAR_IMM ? width : n->value[u->b].bits;
        break;
    case UOP_ZEXT:
        bits = n->value[u->a].bits < 8u << u->sub ? n->value[u->a].bits : 8u << u->sub;
        break;
    case UOP_AND:
        if (u->b == VAR_IMM && u->imm > 0)
            bits = 64 - (unsigned)__builtin_clzll((uint64_t)u->imm);
        break;
    case UOP_SHR:
        if (u->b == VAR_IMM)
            bits = width - count;
        break;
    default:
        break;
    }
    return bits < width ? bits : width;
}

#define SMALL_INDEX 10 // bits of an index, scaled: with more, too often base and address are on different pages

/// The base of an address base + index whose index is small and not negative. The base may be known long before the
/// index, which often comes from memory, and on the same page.
static uint8_t early_base(const struct pass_numbering *n, const struct pass_block *pass, unsigned index)
{
    uint8_t address = pass->uops[index].a;
    const struct uop *sum = &pass->uops[pass->variables[address].defined], *next = sum + 1;
    if (address < VAR_TEMP || address >= VAR_ANCHOR || sum >= &pass->uops[index] || sum->op != UOP_EA ||
        sum->dst != address || sum->width != WIDTH_64 || sum->a > VAR_R15 || sum->b > VAR_R15 || sum->imm < 0 ||
        sum->imm > 64 || n->value[sum->b].bits + sum->sub > SMALL_INDEX)
        return VAR_NONE;
    for (; next < &pass->uops[index]; next++) {
        if ((uop_effects(next) & (DEFINE_DST | DEFINE_C)) &&
            (next->dst == sum->a || next->dst == sum->b || next->c == sum->a || next->c == sum->b))
            return VAR_NONE;
    }
    return sum->a;
}

/// Everything may be different now.
static void forget(struct pass_numbering *n)
{
    n->group_count = 0;
    for (unsigned var = 0; var < VAR_TEMP; var++)
        n->value[var] = unknown(n);
    for (unsigned var = VAR_TEMP; var < VAR_COUNT; var++)
        n->value[var].bits = 64;
}

/// Whether more is known of the operation's result than its width.
static const bool is_followed[UOP_OPS] = {
    [UOP_MOV] = true, [UOP_ZEXT] = true, [UOP_AND] = true, [UOP_SHR] = true, [UOP_EA] = true,
    [UOP_ADD] = true, [UOP_SUB] = true,  [UOP_INC] = true, [UOP_DEC] = true};

static void define(struct pass_numbering *n, const struct uop *u)
{
    unsigned e = uop_effects(u), width = 8u << u->width;
    struct pass_value v = {.bits = (uint8_t)(width < 32 ? 64 : width)};
    if (e & DEFINE_DST) {
        if (is_followed[u->op]) {
            v = result(n, u);
            v.bits = (uint8_t)result_bits(n, u);
        } else
            v.base = n->fresh++;
        n->value[u->dst] = v;
    }
    if (e & DEFINE_C)
        n->value[u->c] = unknown(n);
}

// ---- groups -------------------------------------------------------------------------------------------------------
static bool uses_handle(const struct uop *u)
{
    return u->op == UOP_LOAD || u->op == UOP_STORE || u->op == UOP_VLOAD || u->op == UOP_VSTORE;
}

/// Whether the access at `index` may do without its own handle: plain loads and stores use it, and until they did the
/// interpreter, which needs it, takes over nowhere.
static bool can_follow(const struct pass_block *pass, unsigned index)
{
    unsigned handle = pass->uops[index].dst;
    if (handle < VAR_TEMP)
        return handle == VAR_NONE;
    for (unsigned i = index + 1; i <= pass->variables[handle].last_use; i++) {
        const struct uop *u = &pass->uops[i];
        unsigned e = uop_effects(u);
        bool uses = ((e & USE_A) && u->a == handle) || ((e & USE_B) && u->b == handle) ||
                    ((e & USE_C) && u->c == handle) || ((e & USE_SUB) && u->sub == handle);
        if (pass_may_leave_at(pass, i) ||
            (uses && (!uses_handle(u) || u->a != handle || (e & USE_B && u->b == handle))))
            return false;
    }
    return true;
}

static bool same_place(const struct pass_group *group, const struct pass_value *at, const struct uop *u)
{
    return group->at.base == at->base && group->at.cut == at->cut && (group->aux & UOP_MODE) == (u->aux & UOP_MODE) &&
           (!(u->aux & UOP_MODE) || group->mode == u->c);
}

/// Whether an access at a distance from the leader fits in, and its alignment is known. `alone`: only if it lies in the
/// bytes that are checked anyway.
static bool has_room(const struct pass_group *group, bool alone, int64_t distance, const struct uop *u)
{
    const struct uop *leader = &group->pass->uops[group->leader];
    int64_t low = distance < group->low ? distance : group->low;
    int64_t high = distance + u->param > group->high ? distance + u->param : group->high;
    if (distance != (int32_t)distance || high - low > PASS_GROUP_BYTES)
        return false;
    if ((alone || group->pass->block->no_reuse) && (low != group->low || high != group->high))
        return false;
    return !(u->aux & UOP_ALIGNED) ||
           ((leader->aux & UOP_ALIGNED) && leader->param >= u->param && !(distance & (int64_t)(u->param - 1)));
}

static int64_t distance_to(const struct pass_group *group, const struct pass_value *at)
{
    return (int64_t)(at->constant - group->at.constant);
}

/// The handle of the XLAT at `index` becomes a variable that lives on behind its block. False: it cannot.
static bool make_anchor(struct pass_numbering *n, struct pass_block *pass, unsigned index)
{
    uint8_t handle = pass->uops[index].dst, anchor;
    if (handle >= VAR_ANCHOR)
        return true;
    if (!pass->facts[index].can_be_anchor || n->anchor_count == PASS_ANCHORS)
        return false;
    anchor = (uint8_t)(VAR_ANCHOR + n->anchor_count++);
    pass->uops[index].dst = anchor;
    for (unsigned i = index + 1; i < pass->count; i++) {
        if (uses_handle(&pass->uops[i]) && pass->uops[i].a == handle)
            pass->uops[i].a = anchor;
        if (pass->facts[i].leader == handle)
            pass->facts[i].leader = anchor;
    }
    return true;
}

#ifndef DOPPEL_DEBUG_CHECKS
/// The address of the access at `index` is not needed for it: a PUSH computes it as RSP's new value then, others not at
/// all.
static void drop_address(struct pass_block *pass, unsigned index)
{
    uint8_t address = pass->uops[index].a;
    struct uop *sum = &pass->uops[pass->variables[address].defined],
               *move = &pass->uops[pass->variables[address].last_use];
    if (address < VAR_TEMP || sum->op != UOP_EA || sum->insn != move->insn)
        return;
    if (pass->variables[address].uses == 2 && move->op == UOP_MOV && move->width == WIDTH_64 && move->b == address &&
        move->dst <= VAR_R15) { // x87 rows look for the MOV of their operand's address
        for (const struct uop *u = sum + 1; u < move; u++) {
            if ((uop_effects(u) & (DEFINE_DST | DEFINE_C)) && (u->dst == sum->a || u->dst == sum->b || u->c == sum->a))
                return;
        }
        sum->dst = move->dst;
        *move = *sum;
    } else if (pass->variables[address].uses != 1) {
        return;
    }
    *sum = (struct uop){.op = UOP_NOP, .dst = VAR_NONE, .insn = sum->insn};
}
#endif

/// The access at `index` uses the handle of the group's leader.
static void follow(struct pass_block *pass, struct pass_group *group, unsigned index, int32_t distance)
{
    struct uop *u = &pass->uops[index], nothing = {.op = UOP_NOP, .dst = VAR_NONE, .insn = u->insn};
    uint8_t handle = u->dst, leader = group->pass->uops[group->leader].dst;
    unsigned last = handle >= VAR_TEMP ? pass->variables[handle].last_use : index;

    for (unsigned i = index + 1; i <= last; i++) {
        struct uop *user = &pass->uops[i];
        if (!uses_handle(user) || user->a != handle)
            continue;
        user->a = leader;
        pass->facts[i].displacement = distance;
    }
    if (last > pass->variables[leader].last_use)
        pass->variables[leader].last_use = (uint16_t)last;
    if (distance < group->low)
        group->low = distance;
    if (distance + (int32_t)u->param > group->high)
        group->high = distance + (int32_t)u->param;
    group->pass->facts[group->leader].group_low = (int16_t)group->low;
    group->pass->facts[group->leader].group_bytes = (uint16_t)(group->high - group->low);
    pass->followers++;
#ifdef DOPPEL_DEBUG_CHECKS
    pass->facts[index].leader = leader; // checked all the same, also where nothing uses what it finds
    pass->facts[index].displacement = distance;
    if (index > pass->variables[leader].last_use)
        pass->variables[leader].last_use = (uint16_t)index;
    pass->variables[handle].last_use = (uint16_t)index;
    (void)nothing;
#else
    drop_address(pass, index);
    *u = nothing;
#endif
}

/// A group for a write that has reads only, whose leader could check for writing as well.
static struct pass_group *find_reads(struct pass_numbering *n, bool alone, const struct pass_value *at,
                                     const struct uop *u)
{
    for (struct pass_group *group = n->group; (u->aux & UOP_WRITE) && group < n->group + n->group_count; group++) {
        struct uop read = *u;
        read.aux &= (uint8_t)~UOP_WRITE;
        if (!(group->aux & UOP_WRITE) && same_place(group, at, &read) &&
            has_room(group, alone, distance_to(group, at), u))
            return group;
    }
    return NULL;
}

/// The leader checks for writing before it reads. What may be written, on a page that is Dirty, may be read; where that
/// is not so a detour reads first.
static void write_early(struct pass_group *group)
{
    group->aux |= UOP_WRITE;
    group->pass->uops[group->leader].aux |= UOP_WRITE;
    group->pass->facts[group->leader].early_write = true;
}

static struct pass_group *find_group(struct pass_numbering *n, bool alone, const struct pass_value *at,
                                     const struct uop *u)
{
    struct pass_group *found = NULL;
    for (struct pass_group *group = n->group; group < n->group + n->group_count; group++) {
        bool write = group->aux & UOP_WRITE;
        if (!same_place(group, at, u) || ((u->aux & UOP_WRITE) && !write) ||
            !has_room(group, alone, distance_to(group, at), u))
            continue;
        if (!found || write) // the handle for writes lives on more likely
            found = group;
    }
    return found;
}

/// The access at `index` may have followers. It takes the place of a group that it can do all for, or of the oldest.
static void lead(struct pass_numbering *n, struct pass_block *pass, const struct pass_value *at, unsigned index)
{
    const struct uop *u = &pass->uops[index];
    unsigned place = 0;
    if (u->dst < VAR_TEMP || u->param > PASS_GROUP_BYTES)
        return;
    for (; place < n->group_count; place++) {
        const struct pass_group *group = &n->group[place];
        if (same_place(group, at, u) && ((u->aux & UOP_WRITE) || !(group->aux & UOP_WRITE)))
            break;
    }
    if (place == PASS_GROUPS)
        place = 0;
    if (place < n->group_count)
        memmove(&n->group[place], &n->group[place + 1], (--n->group_count - place) * sizeof n->group[0]);
    n->group[n->group_count++] = (struct pass_group){
        .at = *at, .pass = pass, .leader = (uint16_t)index, .aux = u->aux, .mode = u->c, .high = (int32_t)u->param};
}

static void access(struct pass_numbering *n, struct pass_block *pass, unsigned index)
{
    const struct uop *u = &pass->uops[index];
    struct pass_value at = n->value[u->a];
    struct pass_group *group = find_group(n, pass->block->no_reuse, &at, u);
    bool reads = !group;
    pass->facts[index].base = at.base;
    pass->facts[index].cut = at.cut;
    pass->facts[index].can_be_anchor = can_follow(pass, index);
    if (reads)
        group = find_reads(n, pass->block->no_reuse, &at, u);
    if (group && pass->facts[index].can_be_anchor &&
        (group->pass == pass || make_anchor(n, group->pass, group->leader))) {
        if (reads)
            write_early(group);
        follow(pass, group, index, (int32_t)distance_to(group, &at));
    } else
        lead(n, pass, &at, index);
}

void passes_start(struct pass_numbering *n)
{
    n->head = NULL;
    n->fresh = FRESH;
    n->sum_count = n->group_count = n->anchor_count = n->stream_count = n->room = 0;
    for (unsigned var = 0; var < VAR_TEMP; var++)
        n->value[var] = (struct pass_value){.base = (uint16_t)var, .bits = 64};
}

void pass_reuse(struct pass_block *pass, struct pass_numbering *n)
{
    const struct block *block = pass->block;
    if (!n->head)
        n->head = block;
    else if ((n->head->backing ^ block->backing) & PAGE_MASK)
        n->value[VAR_RIP] = unknown(n);
    else // RIP is where the block starts
        n->value[VAR_RIP] =
            (struct pass_value){.base = VAR_RIP, .bits = 64, .constant = block->backing - n->head->backing};
    for (unsigned i = 0; i < pass->count; i++) {
        const struct uop *u = &pass->uops[i];
        if (u->op == UOP_XLAT)
            pass->facts[i].tlb_base = early_base(n, pass, i);
        if (u->op == UOP_XLAT && u->param && !(n->head->mode & MODE_UNSHARED))
            access(n, pass, i);
        if (u->op == UOP_CALL)
            forget(n);
        define(n, u);
    }
}

// ---- loops --------------------------------------------------------------------------------------------------------
/// Whether a base is the same at the end of a turn as at its start.
static bool is_same(const struct pass_numbering *n, uint16_t base)
{
    if (base == VAR_RIP) // all parts lie in one page
        return true;
    if (base < FRESH)
        return n->value[base].base == base && n->value[base].constant == 0 && !n->value[base].cut;
    for (const struct pass_sum *sum = n->sum; sum < n->sum + n->sum_count; sum++) {
        if (sum->name == base)
            return is_same(n, sum->base[0]) && is_same(n, sum->base[1]);
    }
    return false;
}

#define STEPS 256 // bytes a turn; with more, too few turns are in one page

/// How far an address with the base (of 32 bits, if `cut`) is in the next turn from where it is in this one.
/// False: not known, or nothing to build on.
static bool find_step(const struct pass_numbering *n, uint16_t base, bool cut, int64_t *step)
{
    int64_t part[2];
    *step = 0;
    if (base == VAR_RIP)
        return true;
    if (base < FRESH) {
        const struct pass_value *v = &n->value[base];
        *step = cut ? (int32_t)v->constant : (int64_t)v->constant;
        return v->base == base && (cut || !v->cut) && *step >= -STEPS && *step <= STEPS;
    }
    for (const struct pass_sum *sum = n->sum; sum < n->sum + n->sum_count; sum++) {
        if (sum->name != base)
            continue;
        if (!find_step(n, sum->base[0], cut, &part[0]) || !find_step(n, sum->base[1], cut, &part[1]))
            return false;
        *step = part[0] + part[1] * (1 << sum->scale);
        return *step >= -STEPS && *step <= STEPS;
    }
    return false;
}

/// Whether it is a constant, or a register that moves by the same step in each turn, or by none.
static bool is_counter(const struct pass_numbering *n, unsigned var)
{
    int64_t step;
    return var == VAR_IMM || (var <= VAR_R15 && find_step(n, (uint16_t)var, true, &step));
}

/// Whether the part's way out depends on counters alone.
static bool is_counted(const struct pass_numbering *n, const struct pass_block *pass)
{
    const struct uop *u = &pass->uops[pass->count - 1];
    unsigned effects;
    if (u->op == UOP_EXIT_IF_ZERO)
        return is_counter(n, u->a);
    if (u->op != UOP_EXIT_IF)
        return true;
    while (u > pass->uops && !(u->aux & UOP_SETS_FLAGS))
        u--;
    effects = uop_effects(u);
    return (u->aux & UOP_SETS_FLAGS) && (!(effects & USE_A) || is_counter(n, u->a)) &&
           (!(effects & USE_B) || is_counter(n, u->b));
}

#define LONG_STEP 8 // bytes

/// The least step of a stream that earns its keep: loops that end with what they find, as those over strings do, mostly
/// end soon unless they find much in a turn. So do functions that call themselves, which move the stack pointer.
static int64_t least_step(const struct pass_numbering *n, const struct pass_block *passes, unsigned count)
{
    if (!is_same(n, VAR_RSP))
        return INT64_MAX;
    for (const struct pass_block *pass = passes; pass < passes + count; pass++) {
        if (!is_counted(n, pass))
            return LONG_STEP;
    }
    return 1;
}

/// The access at `index` is a stream's. False: it is not, or cannot be.
static bool advance(struct pass_numbering *n, struct pass_block *pass, unsigned index, int64_t least)
{
    struct pass_facts *facts = &pass->facts[index];
    const struct uop *u = &pass->uops[index];
    int64_t step;
    if (u->param > PASS_GROUP_BYTES || !find_step(n, facts->base, facts->cut, &step) || llabs(step) < least ||
        n->anchor_count + (n->room ? 1 : 2) > PASS_ANCHORS || ((u->aux & UOP_ALIGNED) && step % u->param) ||
        !make_anchor(n, pass, index))
        return false;
    if (!n->room)
        n->room = (uint8_t)(VAR_ANCHOR + n->anchor_count++);
    facts->advances = true;
    n->stream[n->stream_count++] = (struct pass_stream){
        .handle = u->dst,
        .step = (int16_t)step,
        .low = facts->group_bytes ? facts->group_low : 0,
        .bytes = facts->group_bytes ? facts->group_bytes : u->param,
    };
    return true;
}

/// Later turns do without the check of the access at `index`, and without its address where nobody else wants that.
static void hold(struct pass_block *pass, unsigned index)
{
    struct pass_facts *facts = &pass->facts[index];
    facts->held = true;
#ifdef DOPPEL_DEBUG_CHECKS
    facts->leader = pass->uops[index].dst; // checked all the same
#else
    uint8_t address = pass->uops[index].a;
    unsigned sum = address >= VAR_TEMP ? pass->variables[address].defined : index;
    if (sum < index && pass->uops[sum].op == UOP_EA && pass->variables[address].uses == 1)
        pass->facts[sum].held = true;
#endif
}

unsigned pass_hold(struct pass_block *passes, unsigned count, struct pass_numbering *n)
{
    unsigned held = 0;
    int64_t least = least_step(n, passes, count);
    for (struct pass_block *pass = passes; pass < passes + count; pass++) {
        for (unsigned i = 0; i < pass->count; i++) {
            const struct pass_facts *facts = &pass->facts[i];
            if (pass->uops[i].op != UOP_XLAT || pass->uops[i].dst < VAR_TEMP || !facts->can_be_anchor ||
                facts->leader != VAR_ZERO ||
                !(is_same(n, facts->base) ? make_anchor(n, pass, i) : advance(n, pass, i, least)))
                continue;
            hold(pass, i);
            held++;
        }
    }
    return held;
}

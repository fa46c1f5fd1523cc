// See support_naive.h. Speed is no concern here, likeness to the manual is.
#include "support_naive.h"

static bool bit(uint64_t value, unsigned number)
{
    return value >> number & 1;
}

static uint64_t field(uint64_t value, unsigned high, unsigned low)
{
    uint64_t result = 0;
    for (unsigned i = low; i <= high; i++)
        if (bit(value, i))
            result += (uint64_t)1 << (i - low);
    return result;
}

/// Whether any of the bits high..low is set; high below low: no bits, none set.
static bool any_bit(uint64_t value, int high, int low)
{
    for (int i = low; i <= high; i++)
        if (bit(value, (unsigned)i))
            return true;
    return false;
}

static uint64_t after_a20(const struct naive *n, uint64_t physical)
{
    return n->a20 ? physical : physical & ~(uint64_t)0x100000;
}

static uint64_t use_entry(const struct naive *n, struct naive_result *r, uint64_t physical, unsigned size)
{
    physical = after_a20(n, physical);
    r->used[r->count].physical = physical;
    r->used[r->count].size = size;
    r->used[r->count].value = n->read(n->opaque, physical, size);
    r->used[r->count].set_bits = 0;
    return r->used[r->count++].value;
}

/// Section 4.7: the error code of a fault.
static struct naive_result fault(const struct naive *n, struct naive_access a, struct naive_result r, bool present,
                                 bool reserved)
{
    r.outcome = NAIVE_PAGE_FAULT;
    r.error_code = 0;
    if (present)
        r.error_code += 1;
    if (a.write)
        r.error_code += 2;
    if (a.user)
        r.error_code += 4;
    if (reserved)
        r.error_code += 8;
    if (a.fetch && (n->smep || (n->pae && n->execute_disable)))
        r.error_code += 16;
    return r;
}

/// Section 4.6.1: access rights of a linear address whose entries have been used. The U/S flag is 1 in every entry
/// for a user-mode address, the R/W flag 1 in every entry for a writable one.
static bool rights_allow(const struct naive *n, struct naive_access a, const struct naive_result *r)
{
    bool user_address = true, writable = true, executable = true;
    for (unsigned i = 0; i < r->count; i++) {
        if (!bit(r->used[i].value, 2))
            user_address = false;
        if (!bit(r->used[i].value, 1))
            writable = false;
        if (r->used[i].size == 8 && n->execute_disable && bit(r->used[i].value, 63))
            executable = false;
    }
    if (!a.user) { // supervisor-mode accesses
        if (a.fetch) {
            if (!user_address)
                return executable;
            return n->smep ? false : executable;
        }
        if (!user_address) {
            if (a.write)
                return n->write_protect ? writable : true;
            return true;
        }
        if (n->smap && !a.explicit_with_ac)
            return false;
        if (a.write)
            return n->write_protect ? writable : true;
        return true;
    }
    if (!user_address)
        return false;
    if (a.fetch)
        return executable;
    if (a.write)
        return writable;
    return true;
}

static struct naive_result finish(const struct naive *n, struct naive_access a, struct naive_result r, uint64_t frame,
                                  uint64_t page_size, uint64_t linear)
{
    if (!rights_allow(n, a, &r))
        return fault(n, a, r, true, false);
    r.outcome = NAIVE_TRANSLATED;
    r.page_size = page_size;
    r.physical = after_a20(n, frame + linear % page_size);
    r.global = n->pge && bit(r.used[r.count - 1].value, 8);
    for (unsigned i = 0; i < r.count; i++) // section 4.8
        r.used[i].set_bits = 0x20;
    if (a.write)
        r.used[r.count - 1].set_bits |= 0x40;
    return r;
}

/// Section 4.3.
static struct naive_result walk_32bit(const struct naive *n, struct naive_access a, uint64_t linear)
{
    struct naive_result r = {0};
    uint64_t pde = use_entry(n, &r, field(n->cr3, 31, 12) * 4096 + field(linear, 31, 22) * 4, 4);
    if (!bit(pde, 0))
        return fault(n, a, r, false, false);
    if (n->pse && bit(pde, 7)) {
        int m = !n->pse36 ? 32 : n->physical_bits < 40 ? (int)n->physical_bits : 40; // table 4-4
        if (any_bit(pde, 21, m - 19))
            return fault(n, a, r, true, true);
        uint64_t frame = field(pde, 31, 22) << 22;
        if (n->pse36)
            frame += field(pde, (unsigned)(m - 20), 13) << 32;
        return finish(n, a, r, frame, 4 << 20, linear);
    }
    uint64_t pte = use_entry(n, &r, field(pde, 31, 12) * 4096 + field(linear, 21, 12) * 4, 4);
    if (!bit(pte, 0))
        return fault(n, a, r, false, false);
    return finish(n, a, r, field(pte, 31, 12) * 4096, 4096, linear);
}

/// Bits that are reserved in each present 8-byte entry.
static bool reserved_in_any(const struct naive *n, uint64_t entry)
{
    int m = (int)n->physical_bits;
    if (any_bit(entry, n->long_mode ? 51 : 62, m))
        return true;
    return bit(entry, 63) && !n->execute_disable;
}

static uint64_t address_in(const struct naive *n, uint64_t entry, unsigned low)
{
    return field(entry, n->physical_bits - 1, low) << low;
}

/// Tables 4-9 to 4-11 and 4-18 to 4-20: page directory and page table.
static struct naive_result walk_directory(const struct naive *n, struct naive_access a, struct naive_result r,
                                          uint64_t directory, uint64_t linear)
{
    uint64_t pde = use_entry(n, &r, directory + field(linear, 29, 21) * 8, 8);
    if (!bit(pde, 0))
        return fault(n, a, r, false, false);
    if (reserved_in_any(n, pde))
        return fault(n, a, r, true, true);
    if (bit(pde, 7)) {
        if (any_bit(pde, 20, 13))
            return fault(n, a, r, true, true);
        return finish(n, a, r, address_in(n, pde, 21), 2 << 20, linear);
    }
    uint64_t pte = use_entry(n, &r, address_in(n, pde, 12) + field(linear, 20, 12) * 8, 8);
    if (!bit(pte, 0))
        return fault(n, a, r, false, false);
    if (reserved_in_any(n, pte))
        return fault(n, a, r, true, true);
    return finish(n, a, r, address_in(n, pte, 12), 4096, linear);
}

/// Section 4.4.
static struct naive_result walk_pae(const struct naive *n, struct naive_access a, uint64_t linear)
{
    struct naive_result r = {0};
    uint64_t pdpte = n->pdpte[field(linear, 31, 30)];
    if (!bit(pdpte, 0))
        return fault(n, a, r, false, false);
    return walk_directory(n, a, r, address_in(n, pdpte, 12), linear);
}

/// Section 4.5.
static struct naive_result walk_long(const struct naive *n, struct naive_access a, uint64_t linear)
{
    struct naive_result r = {0};
    uint64_t table = address_in(n, n->cr3, 12);
    if (n->la57) {
        uint64_t pml5e = use_entry(n, &r, table + field(linear, 56, 48) * 8, 8);
        if (!bit(pml5e, 0))
            return fault(n, a, r, false, false);
        if (reserved_in_any(n, pml5e) || bit(pml5e, 7))
            return fault(n, a, r, true, true);
        table = address_in(n, pml5e, 12);
    }
    uint64_t pml4e = use_entry(n, &r, table + field(linear, 47, 39) * 8, 8);
    if (!bit(pml4e, 0))
        return fault(n, a, r, false, false);
    if (reserved_in_any(n, pml4e) || bit(pml4e, 7))
        return fault(n, a, r, true, true);
    uint64_t pdpte = use_entry(n, &r, address_in(n, pml4e, 12) + field(linear, 38, 30) * 8, 8);
    if (!bit(pdpte, 0))
        return fault(n, a, r, false, false);
    if (reserved_in_any(n, pdpte))
        return fault(n, a, r, true, true);
    if (bit(pdpte, 7)) {
        if (!n->gigabyte_pages || any_bit(pdpte, 29, 13))
            return fault(n, a, r, true, true);
        return finish(n, a, r, address_in(n, pdpte, 30), 1 << 30, linear);
    }
    return walk_directory(n, a, r, address_in(n, pdpte, 12), linear);
}

static bool canonical(const struct naive *n, uint64_t linear)
{
    unsigned top = n->la57 ? 56 : 47;
    for (unsigned i = top + 1; i < 64; i++)
        if (bit(linear, i) != bit(linear, top))
            return false;
    return true;
}

struct naive_result naive_translate(const struct naive *n, struct naive_access a, uint64_t linear)
{
    struct naive_result r = {0};
    if (!n->paging) {
        r.outcome = NAIVE_TRANSLATED;
        r.physical = after_a20(n, linear);
        r.page_size = 4096;
        return r;
    }
    if (n->long_mode && !canonical(n, linear)) {
        r.outcome = NAIVE_NOT_CANONICAL;
        return r;
    }
    if (n->long_mode)
        return walk_long(n, a, linear);
    return n->pae ? walk_pae(n, a, linear) : walk_32bit(n, a, linear);
}

bool naive_load_pdptes(struct naive *n, uint64_t cr3)
{
    uint64_t loaded[4];
    for (unsigned i = 0; i < 4; i++) {
        loaded[i] = n->read(n->opaque, after_a20(n, field(cr3, 31, 5) * 32 + 8 * i), 8);
        if (!bit(loaded[i], 0))
            continue;
        if (any_bit(loaded[i], 2, 1) || any_bit(loaded[i], 8, 5) || any_bit(loaded[i], 63, (int)n->physical_bits))
            return false;
    }
    for (unsigned i = 0; i < 4; i++)
        n->pdpte[i] = loaded[i];
    return true;
}

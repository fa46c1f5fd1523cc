// A second page walker for the tests: slow, obvious, written from the SDM's prose (vol. 3 ch. 4), sharing nothing
// with mmu/. It changes no memory: it says which bits of which entries the processor would set.
#ifndef DOPPEL_TESTS_MMU_SUPPORT_NAIVE_H
#define DOPPEL_TESTS_MMU_SUPPORT_NAIVE_H

#include <stdbool.h>
#include <stdint.h>

struct naive {
    bool paging, write_protect;           // CR0.PG, CR0.WP
    bool pse, pae, pge, la57, smep, smap; // CR4
    bool long_mode, execute_disable;      // EFER.LMA, EFER.NXE
    bool gigabyte_pages, pse36;           // CPUID
    unsigned physical_bits;               // MAXPHYADDR
    bool a20;                             // enabled
    uint64_t cr3;
    uint64_t pdpte[4];
    uint64_t (*read)(void *opaque, uint64_t physical, unsigned size);
    void *opaque;
};

enum naive_outcome { NAIVE_TRANSLATED, NAIVE_PAGE_FAULT, NAIVE_NOT_CANONICAL };

struct naive_access {
    bool user, write, fetch;
    bool explicit_with_ac; // supervisor data access to which SMAP does not apply
};

struct naive_result {
    enum naive_outcome outcome;
    uint32_t error_code;
    uint64_t physical; // after A20
    uint64_t page_size;
    bool global;
    unsigned count; // entries used
    struct {
        uint64_t physical;
        unsigned size;
        uint64_t value;    // as read
        uint64_t set_bits; // that a use of the translation sets
    } used[5];
};

/// One byte at `linear`.
struct naive_result naive_translate(const struct naive *naive, struct naive_access access, uint64_t linear);
/// MOV to CR3 with PAE paging: false for #GP(0), pdpte unchanged.
bool naive_load_pdptes(struct naive *naive, uint64_t cr3);

#endif

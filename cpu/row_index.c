// Builds the lookup index from all rows: by opcode map and byte, then by ModRM.reg and form, then the few candidates
// that are left, the most special first. Refuses rows that overlap without one being a special case of the other.
#include "cpu/row_index.h"

#include <stdlib.h>

/// Do some encodings of this opcode fit both?
static bool forms_meet(const struct row_form *a, const struct row_form *b)
{
    return !((a->value ^ b->value) & a->mask & b->mask);
}

/// Every encoding that fits `a` fits `b`, but not the other way round.
static bool form_is_special_case(const struct row_form *a, const struct row_form *b)
{
    return (a->mask & b->mask) == b->mask && a->mask != b->mask && !((a->value ^ b->value) & b->mask);
}

static bool form_has_opcode(const struct row_form *form, unsigned map, unsigned opcode)
{
    return form->map == map && (form->opcode_register ? (opcode & ~7u) == form->opcode : opcode == form->opcode);
}

static bool check_pair(const struct row_form *a, const struct row_form *b, struct error *error)
{
    const struct row *x = a->row, *y = b->row;
    if (a->modrm != b->modrm)
        return error_set(error, "rows \"%s\" (%s) and \"%s\" (%s) disagree about a ModRM byte", x->encoding,
                         x->mnemonic, y->encoding, y->mnemonic);
    if (forms_meet(a, b) && !form_is_special_case(a, b) && !form_is_special_case(b, a))
        return error_set(error, "rows \"%s\" (%s) and \"%s\" (%s) overlap", x->encoding, x->mnemonic, y->encoding,
                         y->mnemonic);
    return true;
}

/// The forms of one opcode, the most special first, in `numbers`; their count.
static unsigned collect(const struct row_form *forms, unsigned count, unsigned map, unsigned opcode, uint16_t *numbers)
{
    unsigned found = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!form_has_opcode(&forms[i], map, opcode))
            continue;
        unsigned at = found++;
        // A special case asks for more bits of the key than the general row does.
        for (; at > 0; at--) {
            const struct row_form *before = &forms[numbers[at - 1]];
            if (__builtin_popcount(before->mask) >= __builtin_popcount(forms[i].mask))
                break;
            numbers[at] = numbers[at - 1];
        }
        numbers[at] = (uint16_t)i;
    }
    return found;
}

struct builder {
    struct row_index *index;
    unsigned form_count, list_count, candidate_count;
};

/// Appends a list of those of `numbers` that fit the bits `key` where `mask` says.
static void add_list(struct builder *builder, const uint16_t *numbers, unsigned count, unsigned mask, unsigned key)
{
    struct row_index *index = builder->index;
    index->lists[builder->list_count++] = builder->candidate_count;
    for (unsigned i = 0; i < count; i++) {
        const struct row_form *form = &index->forms[numbers[i]];
        if (!((form->value ^ key) & form->mask & mask))
            index->candidates[builder->candidate_count++] = (struct row_candidate){.mask = form->mask,
                                                                                   .value = form->value,
                                                                                   .feature = form->row->feature,
                                                                                   .form = (uint16_t)(numbers[i] + 1)};
    }
    builder->candidate_count++; // the end
}

static bool add_opcode(struct builder *builder, unsigned map, unsigned opcode, uint16_t *numbers, struct error *error)
{
    struct row_index *index = builder->index;
    unsigned count = collect(index->forms, builder->form_count, map, opcode, numbers);
    if (!count)
        return true; // the slot names list 0, which is empty
    for (unsigned i = 0; i < count; i++)
        for (unsigned j = 0; j < i; j++)
            if (!check_pair(&index->forms[numbers[j]], &index->forms[numbers[i]], error))
                return false;
    struct opcode_slot *slot = &index->slot[map][opcode];
    slot->modrm = index->forms[numbers[0]].modrm;
    slot->lists = (uint16_t)builder->list_count;
    for (unsigned list = 0; list < (slot->modrm ? 16 : 1); list++)
        add_list(builder, numbers, count, slot->modrm ? KEY_MODRM_REG | KEY_REGISTER : 0,
                 (list & 7) << 3 | (list & 8 ? KEY_REGISTER : 0));
    return true;
}

struct row_index *row_index_from_forms(struct row_form *forms, unsigned count, struct error *error)
{
    struct row_index *index = calloc(1, sizeof *index);
    uint16_t *numbers = calloc(count + 1, sizeof *numbers);
    if (index) {
        // No form stands in more than 16 lists of an opcode, and only those without ModRM at eight opcodes. Each list
        // has an end.
        index->candidates = calloc(count * 16 + MAP_COUNT * 256 * 16 + 1, sizeof *index->candidates);
        index->lists = calloc(MAP_COUNT * 256 * 16 + 1, sizeof *index->lists);
        index->forms = forms;
    } else {
        free(forms);
    }
    bool good = index && numbers && index->candidates && index->lists;
    if (!good)
        error_set(error, "not enough memory for the instruction index");
    if (good && count >= UINT16_MAX)
        good = error_set(error, "too many instruction rows (%u)", count);
    struct builder builder = {index, count, 1, 1}; // list 0 is empty
    for (unsigned opcode = 0; good && opcode < MAP_COUNT * 256; opcode++)
        good = add_opcode(&builder, opcode / 256, opcode % 256, numbers, error);
    free(numbers);
    if (good)
        return index;
    row_index_free(index);
    return NULL;
}

struct row_index *row_index_build(struct error *error)
{
    unsigned count = row_count();
    struct row_form *forms = calloc(count + 1, sizeof *forms);
    if (!forms) {
        error_set(error, "not enough memory for the instruction index");
        return NULL;
    }
    for (unsigned i = 0; i < count; i++)
        if (!row_form_parse(row_get(i), &forms[i], error)) {
            free(forms);
            return NULL;
        }
    return row_index_from_forms(forms, count, error);
}

void row_index_free(struct row_index *index)
{
    if (!index)
        return;
    free(index->forms);
    free(index->lists);
    free(index->candidates);
    free(index);
}

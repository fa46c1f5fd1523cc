// The list of all row tables, and the numbers by which uops name a row. Knows the chapters' names, nothing of what is
// in them.
#include "cpu/row.h"

const struct row_table row_tables[] = {
    {"integer", rows_integer, &rows_integer_count},
    {"system", rows_system, &rows_system_count},
    {"x87", rows_x87, &rows_x87_count},
    {"sse", rows_sse, &rows_sse_count},
    {"sse4", rows_sse4, &rows_sse4_count},
    {"bmi", rows_bmi, &rows_bmi_count},
    {"avx", rows_avx, &rows_avx_count},
    {"fma", rows_fma, &rows_fma_count},
};
const unsigned row_table_count = ARRAY_SIZE(row_tables);

unsigned row_count(void)
{
    unsigned count = 0;
    for (unsigned t = 0; t < row_table_count; t++)
        count += *row_tables[t].count;
    return count;
}

const struct row *row_get(unsigned number)
{
    for (unsigned t = 0; t < row_table_count; t++) {
        if (number < *row_tables[t].count)
            return &row_tables[t].rows[number];
        number -= *row_tables[t].count;
    }
    return NULL;
}

unsigned row_number(const struct row *row)
{
    unsigned before = 0;
    for (unsigned t = 0; t < row_table_count; t++) {
        // As integers: the tables are different objects.
        uintptr_t first = (uintptr_t)row_tables[t].rows;
        if ((uintptr_t)row >= first && (uintptr_t)row < first + *row_tables[t].count * sizeof *row)
            return before + (unsigned)(((uintptr_t)row - first) / sizeof *row);
        before += *row_tables[t].count;
    }
    return before; // not a row of any table: the number after the last
}

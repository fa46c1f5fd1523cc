// SMBIOS tables. See smbios.h.
#include "devices/smbios.h"

#include <string.h>

#include "base/bits.h"

struct writer {
    struct smbios *smbios;
    uint16_t count, largest;
    bool failed;
};

/// One structure: formatted area `bytes` (type, length, handle filled here) and its strings, each ended by NUL and
/// the list by an empty one.
static void add(struct writer *w, uint8_t type, uint16_t handle, uint8_t *bytes, uint8_t length, const char *strings)
{
    size_t text = 0;
    while (strings[text])
        text += strlen(strings + text) + 1;
    size_t total = length + (text ? text + 1 : 2);
    struct smbios *s = w->smbios;
    if (s->tables_size + total > sizeof s->tables) {
        w->failed = true;
        return;
    }
    bytes[0] = type;
    bytes[1] = length;
    store_le16(bytes + 2, handle);
    uint8_t *to = s->tables + s->tables_size;
    memset(to, 0, total);
    memcpy(to, bytes, length);
    memcpy(to + length, strings, text);
    s->tables_size += total;
    w->count++;
    if (total > w->largest)
        w->largest = (uint16_t)total;
}

static void add_identity(struct writer *w)
{
    uint8_t bios[24] = {[4] = 1, [5] = 2, [8] = 3, [18] = 0x00, [20] = 0, [21] = 0, [22] = 0xFF, [23] = 0xFF};
    store_le16(bios + 6, 0xE800);
    store_le64(bios + 10, 0x08); // characteristics are not given
    bios[19] = 0x14;             // targeted content distribution; a virtual machine
    add(w, 0, 0, bios, sizeof bios,
        "doppel\0" DOPPEL_VERSION "\0"
        "01/01/2024\0");
    uint8_t system[27] = {[4] = 1, [5] = 2, [6] = 3, [24] = 6}; // UUID not set; woken by the power switch
    add(w, 1, 0x100, system, sizeof system, "doppel\0Standard PC (i440FX + PIIX)\0" DOPPEL_VERSION "\0");
    uint8_t chassis[22] = {[4] = 1, [5] = 1, [9] = 3, [10] = 3, [11] = 3, [12] = 2};
    add(w, 3, 0x300, chassis, sizeof chassis, "doppel\0");
}

static void add_processors(struct writer *w, unsigned count)
{
    for (unsigned i = 0; i < count && i < 8; i++) {
        uint8_t cpu[42] = {[4] = 1, [5] = 3, [6] = 1, [7] = 2, [16] = 2, [24] = 0x41, [25] = 1};
        store_le16(cpu + 20, 2000); // MHz
        store_le16(cpu + 22, 2000);
        store_le16(cpu + 26, 0xFFFF); // no cache structures
        store_le16(cpu + 28, 0xFFFF);
        store_le16(cpu + 30, 0xFFFF);
        cpu[35] = cpu[36] = cpu[37] = 1; // cores, enabled cores, threads
        store_le16(cpu + 38, 0x02);      // characteristics unknown
        store_le16(cpu + 40, 0x01);      // family: other
        add(w, 4, (uint16_t)(0x400 + i), cpu, sizeof cpu, "CPU\0doppel\0");
    }
}

static void add_range(struct writer *w, uint16_t handle, uint64_t start, uint64_t size)
{
    uint8_t range[31] = {[14] = 1};
    store_le16(range + 12, 0x1000);
    uint64_t last = start + size - 1;
    if (last >> 10 < 0xFFFFFFFF) {
        store_le32(range + 4, (uint32_t)(start >> 10));
        store_le32(range + 8, (uint32_t)(last >> 10));
    } else {
        store_le32(range + 4, 0xFFFFFFFF);
        store_le32(range + 8, 0xFFFFFFFF);
        store_le64(range + 15, start);
        store_le64(range + 23, last);
    }
    add(w, 19, handle, range, sizeof range, "");
}

static void add_memory(struct writer *w, uint64_t low, uint64_t high)
{
    uint64_t total = low + high;
    uint8_t array[23] = {[4] = 1, [5] = 3, [6] = 6};
    store_le32(array + 7, total >> 10 < 0x80000000 ? (uint32_t)(total >> 10) : 0x80000000);
    store_le16(array + 11, 0xFFFE); // error information not given
    store_le16(array + 13, 1);
    if (total >> 10 >= 0x80000000)
        store_le64(array + 15, total);
    add(w, 16, 0x1000, array, sizeof array, "");
    uint8_t module[40] = {[14] = 9, [16] = 1, [18] = 7, [19] = 2, [23] = 2};
    store_le16(module + 4, 0x1000);
    store_le16(module + 6, 0xFFFE);
    store_le16(module + 8, 0xFFFF); // widths unknown
    store_le16(module + 10, 0xFFFF);
    uint64_t mib = total >> 20;
    store_le16(module + 12, mib < 0x7FFF ? (uint16_t)mib : 0x7FFF);
    if (mib >= 0x7FFF)
        store_le32(module + 28, (uint32_t)mib);
    add(w, 17, 0x1100, module, sizeof module, "DIMM 0\0");
    add_range(w, 0x1300, 0, low);
    if (high)
        add_range(w, 0x1301, UINT64_C(1) << 32, high);
}

bool smbios_build(struct smbios *smbios, unsigned cpu_count, uint64_t low_ram, uint64_t high_ram, struct error *error)
{
    memset(smbios, 0, sizeof *smbios);
    struct writer w = {.smbios = smbios};
    add_identity(&w);
    add_processors(&w, cpu_count);
    add_memory(&w, low_ram, high_ram);
    uint8_t boot[11] = {0};
    add(&w, 32, 0x2000, boot, sizeof boot, "");
    uint8_t end[4] = {0};
    add(&w, 127, 0x7F00, end, sizeof end, "");
    if (w.failed)
        return error_set(error, "the SMBIOS tables do not fit");
    uint8_t *a = smbios->anchor;
    memcpy(a, "_SM_", 4);
    a[5] = SMBIOS_ANCHOR_SIZE;
    a[6] = 2;
    a[7] = 8;
    store_le16(a + 8, w.largest);
    memcpy(a + 16, "_DMI_", 5);
    store_le16(a + 22, (uint16_t)smbios->tables_size);
    store_le16(a + 28, w.count);
    a[30] = 0x28;
    smbios_link(smbios, 0);
    return true;
}

static uint8_t negative_sum(const uint8_t *bytes, size_t length)
{
    uint8_t sum = 0;
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + bytes[i]);
    return (uint8_t)-sum;
}

void smbios_link(struct smbios *smbios, uint32_t tables_address)
{
    uint8_t *a = smbios->anchor;
    store_le32(a + 24, tables_address);
    a[4] = a[21] = 0;
    a[21] = negative_sum(a + 16, 15);
    a[4] = negative_sum(a, SMBIOS_ANCHOR_SIZE);
}

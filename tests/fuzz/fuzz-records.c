/* SPDX-License-Identifier: MIT */
/*
 * Inputs that are lists of records, and their mutation: records come and go, change places or are
 * changed within, so that what follows keeps its meaning.
 */
#include "fuzz-records.h"

size_t fuzz_records_read(const uint8_t *data, size_t size, FuzzRecord *records)
{
    size_t n = 0;

    while (size >= 4 && n < FUZZ_MAX_RECORDS) {
        size_t len = MIN(data[3], size - 4);

        records[n++] = (FuzzRecord){ data[0], data[1], data[2], len, data + 4 };
        data += 4 + len;
        size -= 4 + len;
    }
    return n;
}

uint64_t fuzz_record_value(const FuzzRecord *r, size_t offset, size_t bytes)
{
    uint64_t value = 0;

    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | (offset + i < r->len ? r->data[offset + i] : 0);
    }
    return value;
}

/* --- mutation --- */

typedef struct List {
    FuzzRecord records[FUZZ_MAX_RECORDS];
    size_t n;
    uint8_t bytes[FUZZ_MAX_RECORDS * 256]; /* payloads that were changed */
    size_t used;
} List;

static size_t write_records(const List *list, uint8_t *out, size_t max)
{
    size_t size = 0;

    for (size_t i = 0; i < list->n; i++) {
        const FuzzRecord *r = &list->records[i];

        if (size + 4 + r->len > max) {
            break;
        }
        out[size] = r->kind;
        out[size + 1] = r->a;
        out[size + 2] = r->b;
        out[size + 3] = r->len;
        memcpy(out + size + 4, r->data, r->len);
        size += 4 + r->len;
    }
    return size;
}

/* A copy of the payload that may be changed and become @len long. */
static uint8_t *own_payload(List *list, FuzzRecord *r, size_t len)
{
    uint8_t *copy = list->bytes + list->used;

    g_assert(list->used + 255 <= sizeof(list->bytes));
    memset(copy, 0, 255);
    if (r->data) {
        memcpy(copy, r->data, MIN(r->len, len));
    }
    list->used += 255;
    r->data = copy;
    r->len = len;
    return copy;
}

/* Numbers that formats choke on: bounds, offsets of clusters with and without flags. */
static uint64_t odd_number(GRand *rand)
{
    uint64_t value;

    switch (g_rand_int_range(rand, 0, 7)) {
    case 0: value = g_rand_int_range(rand, 0, 16); break;
    case 1: value = UINT64_C(1) << g_rand_int_range(rand, 0, 64); break;
    case 2: value = (UINT64_C(1) << g_rand_int_range(rand, 0, 64)) - 1; break;
    case 3: value = (uint64_t)g_rand_int_range(rand, 0, 32) << 9; break;
    case 4: value = (uint64_t)g_rand_int_range(rand, 0, 32) << 12; break;
    case 5: value = (uint64_t)g_rand_int(rand) << 32 | g_rand_int(rand); break;
    default: value = -(uint64_t)g_rand_int_range(rand, 0, 4096); break;
    }
    if (g_rand_int_range(rand, 0, 3) == 0) {
        value |= UINT64_C(1) << g_rand_int_range(rand, 62, 64);
    }
    return value;
}

static void change_payload(List *list, FuzzRecord *r, GRand *rand)
{
    uint8_t *p;
    size_t len = r->len, at;
    uint64_t value;

    if (g_rand_boolean(rand)) {
        p = own_payload(list, r, len);
        r->len = LLVMFuzzerMutate(p, len, 255);
        return;
    }
    p = own_payload(list, r, MAX(len, 8));
    value = GUINT64_TO_BE(odd_number(rand));
    at = g_rand_int_range(rand, 0, r->len - 7) & ~3;
    memcpy(p + at, &value, 8);
}

static void remove_record(List *list, size_t i)
{
    memmove(&list->records[i], &list->records[i + 1], (list->n - i - 1) * sizeof(FuzzRecord));
    list->n--;
}

static void insert_record(List *list, size_t i, FuzzRecord r)
{
    if (list->n == FUZZ_MAX_RECORDS) {
        return;
    }
    memmove(&list->records[i + 1], &list->records[i], (list->n - i) * sizeof(FuzzRecord));
    list->records[i] = r;
    list->n++;
}

static FuzzRecord new_record(List *list, GRand *rand)
{
    FuzzRecord r = {
        .kind = g_rand_int_range(rand, 0, FUZZ_RECORD_KINDS),
        .a = g_rand_boolean(rand) ? g_rand_int_range(rand, 0, 8) : g_rand_int_range(rand, 0, 256),
        .b = g_rand_boolean(rand) ? g_rand_int_range(rand, 0, 8) : g_rand_int_range(rand, 0, 256),
    };
    uint64_t value = GUINT64_TO_BE(odd_number(rand));

    memcpy(own_payload(list, &r, g_rand_int_range(rand, 0, 5) * 8), &value, MIN(r.len, 8));
    return r;
}

static void mutate_once(List *list, GRand *rand)
{
    size_t i = list->n ? g_rand_int_range(rand, 0, list->n) : 0;
    size_t j = list->n ? g_rand_int_range(rand, 0, list->n) : 0;
    FuzzRecord *r = &list->records[i], other;

    if (!list->n) {
        insert_record(list, 0, new_record(list, rand));
        return;
    }
    switch (g_rand_int_range(rand, 0, 10)) {
    case 0: remove_record(list, i); break;
    case 1: insert_record(list, j, *r); break;
    case 2: other = *r, *r = list->records[j], list->records[j] = other; break;
    case 3: r->a = g_rand_int_range(rand, 0, 256); break;
    case 4: r->b = g_rand_int_range(rand, 0, 256); break;
    case 5: r->a ^= 1U << g_rand_int_range(rand, 0, 8); break;
    case 6:
    case 7: insert_record(list, j, new_record(list, rand)); break;
    default: change_payload(list, r, rand); break;
    }
}

size_t fuzz_records_mutate(uint8_t *data, size_t size, size_t head, size_t max_size, unsigned seed)
{
    static List list;
    static uint8_t out[4 * FUZZ_MAX_RECORDS + 256 * FUZZ_MAX_RECORDS];
    GRand *rand = g_rand_new_with_seed(seed);
    unsigned times = 1 + g_rand_int_range(rand, 0, 4);

    if (size < head) {
        memset(data + size, 0, MIN(head, max_size) - size);
        size = MIN(head, max_size);
    }
    if (g_rand_int_range(rand, 0, 8) == 0) {
        data[g_rand_int_range(rand, 0, size)] = g_rand_int_range(rand, 0, 256);
    }
    list.used = 0;
    list.n = fuzz_records_read(data + head, size - MIN(head, size), list.records);
    while (times-- && max_size > head) {
        mutate_once(&list, rand);
    }
    g_rand_free(rand);
    size = write_records(&list, out, MIN(max_size - MIN(head, max_size), sizeof(out)));
    memcpy(data + head, out, size);
    return head + size;
}

size_t fuzz_records_cross(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size,
                          size_t head, uint8_t *out, size_t max_out, unsigned seed)
{
    static List list, other;
    GRand *rand;

    if (a_size < head || b_size < head || max_out < head) {
        return 0;
    }
    rand = g_rand_new_with_seed(seed);
    list.n = fuzz_records_read(a + head, a_size - head, list.records);
    other.n = fuzz_records_read(b + head, b_size - head, other.records);
    list.n = g_rand_int_range(rand, 0, list.n + 1);
    for (size_t i = g_rand_int_range(rand, 0, other.n + 1); i < other.n; i++) {
        insert_record(&list, list.n, other.records[i]);
    }
    memcpy(out, g_rand_boolean(rand) ? a : b, head);
    g_rand_free(rand);
    return head + write_records(&list, out + head, max_out - head);
}

/* SPDX-License-Identifier: MIT */
/*
 * A radix tree whose nodes are counted and never change while shared: writing copies the nodes
 * on the way that others use too. No node is a range of zeroes.
 *
 * The hash is the sum over all pieces of 512 bytes that are not zero of a hash of the piece
 * and its place, so that a write only has to hash what it replaces and what it brings.
 */
#include "block/drivers/sim-bytes.h"

#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/aio-sim.h"

#define FAN_BITS 6
#define FAN      (1 << FAN_BITS)
#define PIECE    512

struct SimNode {
    unsigned refs; /* atomic */
    union {
        SimNode *child[FAN];
        uint8_t page[SIM_PAGE_SIZE];
    };
};

/* How many bytes a node stands for. Level 0 is a page. */
static int level_bits(unsigned level)
{
    return SIM_PAGE_BITS + (int)level * FAN_BITS;
}

/* --- hashes --- */

uint64_t sim_stir(uint64_t x)
{
    return aio_sim_next_random(&x);
}

uint64_t sim_hash(const void *buf, size_t bytes)
{
    const uint64_t odd = UINT64_C(0x9fb21c651e98df25);
    const uint8_t *p = buf;
    uint64_t lane[4] = { 1, 2, 3, 4 }, word;
    size_t i = 0;

    if (buffer_is_zero(buf, bytes)) {
        return 0;
    }
    for (; i + 32 <= bytes; i += 32) {
        for (int k = 0; k < 4; k++) {
            memcpy(&word, p + i + 8 * k, 8);
            word = (lane[k] ^ word) * odd;
            lane[k] = word << 31 | word >> 33;
        }
    }
    for (; i < bytes; i++) {
        lane[i & 3] = sim_stir(lane[i & 3] ^ p[i]);
    }
    word = sim_stir(sim_stir(lane[0]) ^ lane[1]);
    word = sim_stir(sim_stir(word ^ lane[2]) ^ lane[3]);
    return word ? word : 1;
}

static uint64_t hash_piece(const uint8_t *piece, int64_t offset)
{
    uint64_t hash = sim_hash(piece, PIECE);

    return hash ? sim_stir(hash ^ sim_stir(offset / PIECE)) : 0;
}

/* Of the pieces that [@from, @to) of the page at @offset touches. */
static uint64_t hash_pieces(const SimNode *node, int64_t offset, int from, int to)
{
    uint64_t sum = 0;

    for (int at = ROUND_DOWN(from, PIECE); at < to; at += PIECE) {
        sum += hash_piece(node->page + at, offset + at);
    }
    return sum;
}

uint64_t sim_bytes_hash(const SimBytes *b)
{
    return sim_stir(b->hash ^ sim_stir(b->length));
}

/* --- nodes --- */

/* Bytes of a node behind its counter. */
static size_t body_size(unsigned level)
{
    return level ? sizeof(((SimNode *)NULL)->child) : SIM_PAGE_SIZE;
}

static SimNode *node_new(unsigned level)
{
    SimNode *node = g_malloc0(offsetof(SimNode, page) + body_size(level));

    node->refs = 1;
    return node;
}

static SimNode *node_copy(const SimNode *from, unsigned level)
{
    SimNode *node = g_malloc(offsetof(SimNode, page) + body_size(level));

    memcpy(node->page, from->page, body_size(level));
    node->refs = 1;
    for (int i = 0; level && i < FAN; i++) {
        if (node->child[i]) {
            qatomic_inc(&node->child[i]->refs);
        }
    }
    return node;
}

static void node_unref(SimNode *node, unsigned level)
{
    if (!node || qatomic_fetch_dec(&node->refs) > 1) {
        return;
    }
    for (int i = 0; level && i < FAN; i++) {
        node_unref(node->child[i], level - 1);
    }
    g_free(node);
}

/* What *@slot leads to, as a node that is ours alone; made if there is none. */
static SimNode *node_own(SimNode **slot, unsigned level)
{
    SimNode *old = *slot, *node;

    if (old && qatomic_load_acquire(&old->refs) == 1) {
        return old;
    }
    node = old ? node_copy(old, level) : node_new(level);
    node_unref(old, level);
    *slot = node;
    return node;
}

/* --- changes --- */

static void change_page(SimBytes *b, SimNode **slot, int64_t offset, int from, int to,
                        const uint8_t *buf)
{
    SimNode *page;

    if (*slot) {
        b->hash -= hash_pieces(*slot, offset, from, to);
    }
    if (!buf && to - from == SIM_PAGE_SIZE) {
        node_unref(*slot, 0);
        *slot = NULL;
        return;
    }
    page = node_own(slot, 0);
    if (buf) {
        memcpy(page->page + from, buf, to - from);
    } else {
        memset(page->page + from, 0, to - from);
    }
    b->hash += hash_pieces(page, offset, from, to);
}

/* [@from, @to) of the node at @offset, counted from there; @buf NULL: zeroes. */
static void change_node(SimBytes *b, SimNode **slot, unsigned level, int64_t offset, int64_t from,
                        int64_t to, const uint8_t *buf)
{
    int bits = level_bits(level - 1);
    SimNode *node;

    if (!buf && !*slot) {
        return;
    }
    if (level == 0) {
        change_page(b, slot, offset, from, to, buf);
        return;
    }
    node = node_own(slot, level);
    for (int64_t at = from, stop; at < to; at = stop) {
        int i = at >> bits;
        int64_t start = (int64_t)i << bits;

        stop = start + MIN(INT64_C(1) << bits, to - start);
        change_node(b, &node->child[i], level - 1, offset + start, at - start, stop - start, buf);
        buf = buf ? buf + (stop - at) : NULL;
    }
}

/* A change within what the tree covers. */
static void change(SimBytes *b, int64_t offset, int64_t bytes, const void *buf)
{
    int bits = level_bits(b->levels);
    int64_t covered = bits < 63 ? INT64_C(1) << bits : INT64_MAX;

    if (offset < covered) {
        change_node(b, &b->root, b->levels, 0, offset, MIN(offset + bytes, covered), buf);
    }
}

static void cover(SimBytes *b, int64_t end)
{
    while (level_bits(b->levels) < 63 && end > INT64_C(1) << level_bits(b->levels)) {
        SimNode *root = b->root;

        b->levels++;
        if (root) {
            b->root = node_new(b->levels);
            b->root->child[0] = root;
        }
    }
}

void sim_bytes_write(SimBytes *b, int64_t offset, const void *buf, int64_t bytes)
{
    if (bytes <= 0) {
        return;
    }
    if (buf) {
        cover(b, offset + bytes);
    }
    change(b, offset, bytes, buf);
    b->length = MAX(b->length, offset + bytes);
}

void sim_bytes_set_length(SimBytes *b, int64_t length)
{
    if (length < b->length) {
        change(b, length, b->length - length, NULL);
    }
    b->length = length;
}

void sim_bytes_copy(SimBytes *to, const SimBytes *from)
{
    *to = *from;
    if (to->root) {
        qatomic_inc(&to->root->refs);
    }
}

void sim_bytes_clear(SimBytes *b)
{
    node_unref(b->root, b->levels);
    *b = (SimBytes){ 0 };
}

/* --- looking --- */

/* The page at @offset or NULL; *@same: how many bytes from @offset on it (or nothing) covers. */
static const SimNode *find_page(const SimBytes *b, int64_t offset, int64_t *same)
{
    const SimNode *node = b->root;
    int bits = level_bits(b->levels);

    if (bits < 63 && offset >> bits) {
        *same = INT64_MAX - offset;
        return NULL;
    }
    for (unsigned level = b->levels; node && level > 0; level--) {
        bits = level_bits(level - 1);
        node = node->child[(offset >> bits) & (FAN - 1)];
    }
    *same = bits < 63 ? (INT64_C(1) << bits) - (offset & ((INT64_C(1) << bits) - 1))
                      : INT64_MAX - offset;
    return node;
}

void sim_bytes_read(const SimBytes *b, int64_t offset, void *buf, int64_t bytes)
{
    uint8_t *to = buf;

    while (bytes > 0) {
        int64_t n;
        const SimNode *page = find_page(b, offset, &n);

        n = MIN(n, bytes);
        if (page) {
            memcpy(to, page->page + (offset & (SIM_PAGE_SIZE - 1)), n);
        } else {
            memset(to, 0, n);
        }
        to += n;
        offset += n;
        bytes -= n;
    }
}

bool sim_bytes_allocated(const SimBytes *b, int64_t offset, int64_t bytes, int64_t *pnum)
{
    bool allocated = find_page(b, offset, pnum) != NULL;

    while (*pnum < bytes) {
        int64_t n;

        if ((find_page(b, offset + *pnum, &n) != NULL) != allocated) {
            break;
        }
        *pnum += n;
    }
    *pnum = MIN(*pnum, bytes);
    return allocated;
}

static int64_t count_pages(const SimNode *node, unsigned level)
{
    int64_t n = 0;

    if (!node || level == 0) {
        return node != NULL;
    }
    for (int i = 0; i < FAN; i++) {
        n += count_pages(node->child[i], level - 1);
    }
    return n;
}

int64_t sim_bytes_count(const SimBytes *b)
{
    return count_pages(b->root, b->levels) * SIM_PAGE_SIZE;
}

/* SPDX-License-Identifier: MIT */
/*
 * Stacks for coroutines.
 *
 * A chunk is one mapping of 64 to 16,384 slots of one size; a slot is a guard and, above
 * it, the stack. Chunks grow with the number of stacks, so a million need some seventy
 * mappings. A guard is made when a slot is used for the first time and stays.
 *
 * Guards cost no mapping with MADV_GUARD_INSTALL (Linux 6.13): it marks page table
 * entries, and the marks survive MADV_DONTNEED. On older kernels mprotect splits the
 * chunk into two mappings a stack; the number of stacks is then limited so that
 * vm.max_map_count leaves room for the rest of the program.
 *
 * Memory: a freed stack's pages go back to the kernel at once (MADV_DONTNEED), a chunk
 * without used slots is unmapped. Slots are taken from the oldest chunk that has one, so
 * that the newer ones can become empty. Huge pages are kept off: one would make 2 MiB
 * resident for a stack that uses 4 KiB.
 *
 * Colour: stacks are a multiple of the page size apart. If all began at the same offset
 * in a page, their hot lines would compete for the same few sets of the first level cache,
 * and a dozen coroutines would already evict each other. So the top moves down by up to
 * 31 lines, differently for neighbours.
 *
 * Everything here is owned by stacks.lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "qemu/compiler.h"
#include "qemu/queue.h"
#include "coroutine-sanitizer.h"
#include "coroutine-stack.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

#ifndef CONFIG_COROUTINE_STACK_SIZE
#define CONFIG_COROUTINE_STACK_SIZE (256 * 1024)
#endif

enum {
    STACK_SIZE_MIN = 16 * 1024,
    /* More than a page, so that a function with a large frame does not step over it. */
    GUARD_SIZE_MIN = 16 * 1024,
    CHUNK_SLOTS_MIN = 64,
    CHUNK_SLOTS_MAX = 16384,
    CACHE_LINE = 64,
    COLOURS = 32,
};

/* Values of CoroutineStackChunk.link besides the index of the next free slot. */
#define SLOT_USED UINT32_MAX
#define SLOT_NONE (UINT32_MAX - 1)

struct CoroutineStackChunk {
    QTAILQ_ENTRY(CoroutineStackChunk) all;
    /* In the arena's list of chunks with room, oldest first, while there is room. */
    QTAILQ_ENTRY(CoroutineStackChunk) with_room;
    struct StackArena *arena;
    uint64_t age;
    char *base;
    uint32_t slots;
    /* Slots that have their guard: those below this index. */
    uint32_t carved;
    uint32_t used;
    uint32_t free_head;
    uint32_t link[];
};

/* The chunks of one stack size. Never freed: there is one for each power of two. */
typedef struct StackArena {
    struct StackArena *next;
    size_t stack_size;
    size_t slots;
    QTAILQ_HEAD(, CoroutineStackChunk) with_room;
} StackArena;

static struct {
    pthread_mutex_t lock;
    StackArena *arenas;
    QTAILQ_HEAD(ChunkList, CoroutineStackChunk) chunks;
    uint64_t age;
    size_t page_size;
    size_t guard_size;
    size_t guarded;
    size_t used;
    /* SIZE_MAX as long as guards cost no mapping. */
    size_t limit;
    bool by_mprotect;
} stacks = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .chunks = QTAILQ_HEAD_INITIALIZER(stacks.chunks),
    .limit = SIZE_MAX,
};

size_t coroutine_stack_default_size(void)
{
    return (size_t)CONFIG_COROUTINE_STACK_SIZE * CO_SANITIZER_STACK_FACTOR;
}

void coroutine_stack_lock(void)
{
    pthread_mutex_lock(&stacks.lock);
}

void coroutine_stack_unlock(void)
{
    pthread_mutex_unlock(&stacks.lock);
}

static size_t round_up(size_t n, size_t power_of_two)
{
    return (n + power_of_two - 1) & ~(power_of_two - 1);
}

/*
 * Two mappings a stack. A quarter of what the kernel allows, and 4096 at least, stays
 * for the program.
 */
static size_t mprotect_limit(void)
{
    FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
    long max = 65530;
    size_t reserve;

    if (f) {
        if (fscanf(f, "%ld", &max) != 1 || max < 0) {
            max = 65530;
        }
        fclose(f);
    }
    reserve = max / 4 > 4096 ? max / 4 : 4096;
    return (size_t)max > reserve ? (max - reserve) / 2 : 16;
}

/*
 * Ask the kernel whether it can read there: rt_sigprocmask copies the set before it
 * looks at the operation, which is invalid. Emulators accept and ignore advice that
 * they do not know, so success of madvise proves nothing.
 */
static bool is_readable(const void *p)
{
    int saved = errno;
    bool readable;

    syscall(SYS_rt_sigprocmask, -1, p, NULL, (size_t)8);
    readable = errno != EFAULT;
    errno = saved;
    return readable;
}

static void use_mprotect(size_t limit)
{
    stacks.by_mprotect = true;
    stacks.limit = limit ? limit : stacks.guarded + mprotect_limit();
}

/* The kernel may refuse later than at first: locked memory (mlockall) takes no marks. */
static int install_guard(char *p)
{
    if (!stacks.by_mprotect) {
        if (madvise(p, stacks.guard_size, MADV_GUARD_INSTALL) == 0 &&
            (stacks.guarded || co_sanitizer_emulated() || !is_readable(p))) {
            return 0;
        }
        use_mprotect(0);
    }
    return mprotect(p, stacks.guard_size, PROT_NONE) < 0 ? -ENOMEM : 0;
}

static size_t slot_size(const StackArena *arena)
{
    return arena->stack_size + stacks.guard_size;
}

static StackArena *find_arena(size_t size)
{
    StackArena *arena;
    size_t rounded = STACK_SIZE_MIN;

    if (size > SIZE_MAX / 4) {
        errno = EINVAL;
        return NULL;
    }
    while (rounded < size) {
        rounded *= 2;
    }
    rounded = round_up(rounded, stacks.page_size);
    for (arena = stacks.arenas; arena; arena = arena->next) {
        if (arena->stack_size == rounded) {
            return arena;
        }
    }
    arena = calloc(1, sizeof(*arena));
    if (!arena) {
        return NULL;
    }
    arena->stack_size = rounded;
    QTAILQ_INIT(&arena->with_room);
    arena->next = stacks.arenas;
    stacks.arenas = arena;
    return arena;
}

static uint32_t next_chunk_slots(const StackArena *arena)
{
    size_t slots = arena->slots;

    if (slots < CHUNK_SLOTS_MIN) {
        slots = CHUNK_SLOTS_MIN;
    }
    if (slots > CHUNK_SLOTS_MAX) {
        slots = CHUNK_SLOTS_MAX;
    }
    /* At most 4 GiB of address space at once, unless one stack is larger. */
    while (slots > 1 && slots > ((uint64_t)4 << 30) / slot_size(arena)) {
        slots /= 2;
    }
    return slots;
}

static CoroutineStackChunk *chunk_new(StackArena *arena)
{
    uint32_t slots = next_chunk_slots(arena);
    CoroutineStackChunk *chunk;
    void *base;

    for (;; slots /= 2) {
        base = mmap(NULL, slots * slot_size(arena), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (base != MAP_FAILED || slots == 1) {
            break;
        }
    }
    if (base == MAP_FAILED) {
        return NULL;
    }
    chunk = calloc(1, sizeof(*chunk) + slots * sizeof(chunk->link[0]));
    if (!chunk) {
        munmap(base, slots * slot_size(arena));
        return NULL;
    }
    madvise(base, slots * slot_size(arena), MADV_NOHUGEPAGE);
    chunk->arena = arena;
    chunk->age = stacks.age++;
    chunk->base = base;
    chunk->slots = slots;
    chunk->free_head = SLOT_NONE;
    arena->slots += slots;
    QTAILQ_INSERT_TAIL(&stacks.chunks, chunk, all);
    QTAILQ_INSERT_TAIL(&arena->with_room, chunk, with_room);
    return chunk;
}

static void chunk_delete(CoroutineStackChunk *chunk)
{
    QTAILQ_REMOVE(&stacks.chunks, chunk, all);
    QTAILQ_REMOVE(&chunk->arena->with_room, chunk, with_room);
    chunk->arena->slots -= chunk->slots;
    stacks.guarded -= chunk->carved;
    munmap(chunk->base, chunk->slots * slot_size(chunk->arena));
    free(chunk);
}

static void chunk_found_room(CoroutineStackChunk *chunk)
{
    CoroutineStackChunk *other;

    QTAILQ_FOREACH(other, &chunk->arena->with_room, with_room) {
        if (other->age > chunk->age) {
            QTAILQ_INSERT_BEFORE(other, chunk, with_room);
            return;
        }
    }
    QTAILQ_INSERT_TAIL(&chunk->arena->with_room, chunk, with_room);
}

static bool chunk_has_room(const CoroutineStackChunk *chunk)
{
    return chunk->used < chunk->slots;
}

static void describe_slot(CoroutineStackChunk *chunk, uint32_t i, CoroutineStack *stack)
{
    char *base = chunk->base + i * slot_size(chunk->arena) + stacks.guard_size;
    /* 13 and 32 have no common divisor: neighbours are far apart, all colours in use. */
    size_t colour = i * 13 % COLOURS * CACHE_LINE;

    *stack = (CoroutineStack) {
        .base = base,
        .size = chunk->arena->stack_size,
        .top = base + chunk->arena->stack_size - colour,
        .chunk = chunk,
    };
}

static int alloc_slot(CoroutineStackChunk *chunk, CoroutineStack *stack)
{
    uint32_t i = chunk->free_head;
    int ret;

    if (i != SLOT_NONE) {
        chunk->free_head = chunk->link[i];
    } else {
        if (stacks.guarded >= stacks.limit) {
            return -ENOMEM;
        }
        i = chunk->carved;
        ret = install_guard(chunk->base + i * slot_size(chunk->arena));
        if (ret < 0) {
            return ret;
        }
        chunk->carved++;
        stacks.guarded++;
    }
    chunk->link[i] = SLOT_USED;
    chunk->used++;
    stacks.used++;
    if (!chunk_has_room(chunk)) {
        QTAILQ_REMOVE(&chunk->arena->with_room, chunk, with_room);
    }
    describe_slot(chunk, i, stack);
    return 0;
}

static int alloc_locked(size_t size, CoroutineStack *stack)
{
    StackArena *arena;
    CoroutineStackChunk *chunk;
    int ret;

    if (!stacks.page_size) {
        stacks.page_size = sysconf(_SC_PAGESIZE);
        stacks.guard_size = round_up(GUARD_SIZE_MIN, stacks.page_size);
    }
    arena = find_arena(size);
    if (!arena) {
        return -errno;
    }
    chunk = QTAILQ_FIRST(&arena->with_room);
    if (!chunk) {
        chunk = stacks.guarded < stacks.limit ? chunk_new(arena) : NULL;
    }
    if (!chunk) {
        return -ENOMEM;
    }
    ret = alloc_slot(chunk, stack);
    if (ret < 0 && !chunk->used) {
        chunk_delete(chunk);
    }
    return ret;
}

int coroutine_stack_alloc(size_t size, CoroutineStack *stack)
{
    int ret;

    if (!size) {
        size = coroutine_stack_default_size();
    }
    coroutine_stack_lock();
    ret = alloc_locked(size, stack);
    coroutine_stack_unlock();
    return ret;
}

static void free_slot(CoroutineStackChunk *chunk, const void *base)
{
    uint32_t i = ((const char *)base - chunk->base) / slot_size(chunk->arena);

    if (!chunk_has_room(chunk)) {
        chunk_found_room(chunk);
    }
    chunk->link[i] = chunk->free_head;
    chunk->free_head = i;
    chunk->used--;
    stacks.used--;
    if (!chunk->used) {
        chunk_delete(chunk);
    }
}

void coroutine_stack_free(const CoroutineStack *array, size_t n)
{
    size_t i = 0;

    /* Outside of the lock: nobody else can have these slots yet. Guards survive it. */
    while (i < n) {
        char *low = array[i].base;
        char *high = low + array[i].size;
        size_t stride = array[i].size + stacks.guard_size;
        CoroutineStackChunk *chunk = array[i].chunk;

        for (i++; i < n && array[i].chunk == chunk; i++) {
            if ((char *)array[i].base == low - stride) {
                low -= stride;
            } else if ((char *)array[i].base == high + stacks.guard_size) {
                high += stride;
            } else {
                break;
            }
        }
        madvise(low, high - low, MADV_DONTNEED);
    }

    coroutine_stack_lock();
    for (i = 0; i < n; i++) {
        free_slot(array[i].chunk, array[i].base);
    }
    coroutine_stack_unlock();
}

size_t coroutine_stack_high_water(const void *base, size_t size)
{
    unsigned char resident[256];
    size_t page = stacks.page_size;
    const char *p = base;
    const char *end = p + size;

    while (p < end) {
        size_t pages = (end - p) / page;
        size_t i;

        if (pages > sizeof(resident)) {
            pages = sizeof(resident);
        }
        if (mincore((void *)p, pages * page, resident) < 0) {
            return size;
        }
        for (i = 0; i < pages; i++) {
            if (resident[i] & 1) {
                return end - (p + i * page);
            }
        }
        p += pages * page;
    }
    return 0;
}

void coroutine_stack_foreach(void (*fn)(const CoroutineStack *stack, void *opaque),
                             void *opaque)
{
    CoroutineStackChunk *chunk;
    CoroutineStack stack;
    uint32_t i;

    coroutine_stack_lock();
    QTAILQ_FOREACH(chunk, &stacks.chunks, all) {
        for (i = 0; i < chunk->carved; i++) {
            if (chunk->link[i] == SLOT_USED) {
                describe_slot(chunk, i, &stack);
                fn(&stack, opaque);
            }
        }
    }
    coroutine_stack_unlock();
}

size_t coroutine_stack_limit(void)
{
    size_t limit;

    coroutine_stack_lock();
    limit = stacks.limit;
    coroutine_stack_unlock();
    return limit;
}

void coroutine_stack_get_stats(CoroutineStackStats *stats)
{
    CoroutineStackChunk *chunk;

    coroutine_stack_lock();
    *stats = (CoroutineStackStats) {
        .guarded = stacks.guarded,
        .used = stacks.used,
        .by_mprotect = stacks.by_mprotect,
    };
    QTAILQ_FOREACH(chunk, &stacks.chunks, all) {
        stats->chunks++;
        stats->mapped += chunk->slots;
    }
    coroutine_stack_unlock();
}

void coroutine_stack_force_mprotect(size_t limit)
{
    coroutine_stack_lock();
    use_mprotect(limit);
    coroutine_stack_unlock();
}

/* SPDX-License-Identifier: MIT */
/*
 * The I/O engines by name, and their states by context.
 *
 * A state belongs to one engine in one AioContext; the context owns it (as its data under
 * the engine's address) and frees it when it dies. Each thread remembers the state
 * it used last. As a context may be freed by another thread and a new one be made at its
 * address, freeing a state moves a global generation, which makes all memories stale.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/coroutine-tls.h"

#include "block/io-engine.h"

static const IOEngine *const engines[] = {
    &io_engine_native,
    &io_engine_threads,
#ifdef CONFIG_LIBURING
    &io_engine_io_uring,
#endif
};

/* What the context's data points to. */
typedef struct EngineSlot {
    const IOEngine *engine;
    AioContext *ctx;
    IOEngineState *state;
} EngineSlot;

typedef struct EngineCache {
    EngineSlot slot;
    unsigned generation;
} EngineCache;

QEMU_DEFINE_STATIC_CO_TLS(EngineCache, engine_cache)

/* Atomic. */
static unsigned slot_generation;

const IOEngine *io_engine_find(const char *name)
{
    for (size_t i = 0; i < G_N_ELEMENTS(engines); i++) {
        if (!strcmp(engines[i]->name, name)) {
            return engines[i];
        }
    }
    return NULL;
}

/* The context dies. */
static void slot_destroy(void *opaque)
{
    EngineSlot *slot = opaque;

    qatomic_inc(&slot_generation);
    slot->engine->detach(slot->state, slot->ctx);
    g_free(slot);
}

static EngineSlot *slot_new(const IOEngine *engine, AioContext *ctx, Error **errp)
{
    EngineSlot *slot;
    IOEngineState *state = engine->attach(ctx, errp);

    if (!state) {
        return NULL;
    }
    slot = g_new(EngineSlot, 1);
    *slot = (EngineSlot) { .engine = engine, .ctx = ctx, .state = state };
    aio_context_set_data(ctx, engine, slot, slot_destroy);
    return slot;
}

/* Kept out of line: the usual case is found in the cache. */
static QEMU_NOINLINE IOEngineState *lookup(const IOEngine *engine, AioContext *ctx,
                                           EngineCache *cache, Error **errp)
{
    unsigned generation = qatomic_read(&slot_generation);
    EngineSlot *slot;

    if (!ctx) {
        error_setg(errp, "This thread has no AioContext");
        return NULL;
    }
    slot = aio_context_get_data(ctx, engine);
    if (!slot) {
        slot = slot_new(engine, ctx, errp);
        if (!slot) {
            return NULL;
        }
    }
    cache->slot = *slot;
    cache->generation = generation;
    return slot->state;
}

IOEngineState *io_engine_get_state(const IOEngine *engine, Error **errp)
{
    EngineCache *cache;
    AioContext *ctx;

    if (!engine->attach) {
        /* Something that is not NULL. */
        return (IOEngineState *)&slot_generation;
    }
    cache = get_ptr_engine_cache();
    ctx = qemu_get_current_aio_context();
    if (likely(cache->slot.engine == engine && cache->slot.ctx == ctx && ctx &&
               cache->generation == qatomic_read(&slot_generation))) {
        return cache->slot.state;
    }
    return lookup(engine, ctx, cache, errp);
}

/* SPDX-License-Identifier: MIT */
/* The loop's side of aio-sleeper.h: who sleeps, and whether requests may be silent. */
#include "aio-internal.h"

bool aio_context_set_sleeper(AioContext *ctx, AioSleeper *sleeper)
{
    if (ctx->sleeper || ctx->epollfd < 0) {
        return false;
    }
    sleeper->fd = ctx->epollfd;
    sleeper->may_silent = !ctx->watched && !ctx->sim;
    sleeper->silent = 0;
    ctx->sleeper = sleeper;
    return true;
}

void aio_context_unset_sleeper(AioContext *ctx, AioSleeper *sleeper)
{
    if (ctx->sleeper == sleeper) {
        g_assert(!sleeper->silent);
        ctx->sleeper = NULL;
    }
}

void aio_watched(AioContext *ctx)
{
    ctx->watched = true;
    if (ctx->sleeper) {
        ctx->sleeper->may_silent = false;
    }
}

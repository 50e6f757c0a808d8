/* SPDX-License-Identifier: MIT */
/* Checks of an image for consistency: who may ask the driver, and when. */
#include "node.h"

static int coroutine_fn bdrv_co_check(BlockDriverState *bs, BdrvCheckResult *res,
                                      BdrvCheckMode fix)
{
    memset(res, 0, sizeof(*res));
    if (!bs->drv->bdrv_co_check) {
        return -ENOTSUP;
    }
    return fix && bs->read_only ? -EACCES : bs->drv->bdrv_co_check(bs, res, fix);
}

typedef struct CheckCall {
    CoCall call;
    BlockDriverState *bs;
    BdrvCheckResult *res;
    BdrvCheckMode fix;
} CheckCall;

static void coroutine_fn check_entry(CoCall *call)
{
    CheckCall *cc = container_of(call, CheckCall, call);

    call->ret = bdrv_co_check(cc->bs, cc->res, cc->fix);
}

int bdrv_check(BlockDriverState *bs, BdrvCheckResult *res, BdrvCheckMode fix)
{
    CheckCall cc = { .call.fn = check_entry, .bs = bs, .res = res, .fix = fix };

    return co_call(&cc.call);
}

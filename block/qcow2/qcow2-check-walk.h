/* SPDX-License-Identifier: MIT */
/*
 * What the parts of a check share. In this order: the snapshot table is read, all references are
 * counted (walk), refcounts are compared with them and repaired one by one or as a whole
 * (compare, rebuild), the COPIED flags follow, the snapshot table is written anew if need be.
 *
 * Nothing is trusted: an offset behind the end of the file is a finding and is not counted, and
 * the work is bounded by what the file holds (see the budget).
 */
#ifndef BLOCK_QCOW2_CHECK_WALK_H
#define BLOCK_QCOW2_CHECK_WALK_H

#include "qcow2-check.h"
#include "qcow2-refmap.h"
#include "qcow2-state.h"

/* A snapshot as a check needs it. */
typedef struct Qcow2CheckSnapshot {
    uint64_t l1_table_offset;
    uint32_t l1_size;
    char *id, *name;
    GBytes *entry; /* to be written if the table has to be: as read, or as repaired */
} Qcow2CheckSnapshot;

typedef struct Qcow2Check {
    BlockDriverState *bs;
    BdrvCheckResult *r;
    BdrvCheckMode fix;
    Qcow2RefMap map;        /* references counted, more than a refcount can hold as well */
    Qcow2RefMap beyond;     /* references to clusters not far behind the end */
    uint64_t beyond_end;    /* no such cluster from here on */
    uint64_t file_bytes;
    uint64_t outside_from;  /* the file ended with this cluster before it was made longer for refcount blocks, or 0 */
    uint64_t nb_clusters;   /* of the file and of what is referred to a little behind it */
    uint64_t highest;       /* the last cluster in use, by refcount or reference */
    uint64_t next_host;     /* where the next data cluster would not be fragmented; 0: anywhere */
    uint64_t budget;        /* bytes of tables that may still be read */
    bool budget_told;
    uint64_t done, total;   /* tables looked at, of all that are: for the progress */
    bool rebuild;           /* the refcount structures cannot be repaired in place */
    uint64_t *l2;           /* room for a table */
    GPtrArray *snapshots;   /* of Qcow2CheckSnapshot */
    uint64_t snapshots_offset, snapshots_bytes;
    uint64_t snapshots_clusters; /* the file has of it */
    GArray *freed;          /* of uint64_t: clusters that repairs made free */
    bool flags_stale;       /* references went after the copied flags were looked at */
    int64_t snapshot_errors; /* corruptions that writing the snapshot table anew would mend */
} Qcow2Check;

/* A finding: the text and a newline on stderr. */
void G_GNUC_PRINTF(1, 2) qcow2_check_say(const char *fmt, ...);

/* "Repairing" or "ERROR", as errors are to be repaired or not. */
const char *qcow2_check_verb(const Qcow2Check *c);

/* The most references that a refcount of the image can hold. */
static inline uint32_t qcow2_check_most(const Qcow2Check *c)
{
    const BDRVQcow2State *s = c->bs->opaque;

    return MIN(s->refcount_max, (uint64_t)UINT32_MAX);
}

/*
 * What the refcount of a cluster should be. One behind the end that something refers to must not be given out
 * when the file gets there.
 */
static inline uint32_t qcow2_check_references(Qcow2Check *c, uint64_t cluster)
{
    uint64_t n = qcow2_refmap_get(&c->map, cluster);

    if (cluster < c->beyond_end) {
        n += qcow2_refmap_get(&c->beyond, cluster);
    }
    return MIN(n, qcow2_check_most(c));
}

/* Counts a reference to each cluster that @bytes from @offset on touch. 0 or -errno. */
int coroutine_fn qcow2_check_count(Qcow2Check *c, uint64_t offset, uint64_t bytes);

/*
 * Takes from the budget; false when it is used up, which is a check error. A sound image
 * never gets there: tables that several snapshots share are in it for each of them.
 */
bool qcow2_check_spend(Qcow2Check *c, uint64_t bytes);

/* So many tables more are done. */
void qcow2_check_progress(Qcow2Check *c, uint64_t tables);

/* Counts what is reached from an L1 table in the file. */
int coroutine_fn qcow2_check_l1(Qcow2Check *c, uint64_t offset, uint32_t entries, bool active);
int coroutine_fn qcow2_check_bitmaps(Qcow2Check *c);
/* All references. */
int coroutine_fn qcow2_check_walk(Qcow2Check *c);

/* Compares refcounts with the references, and repairs what @fix allows. */
void coroutine_fn qcow2_check_refcounts(Qcow2Check *c, BdrvCheckMode fix);
int coroutine_fn qcow2_check_copied_flags(Qcow2Check *c);

/* Makes a new refcount table with all blocks, from the references. Says itself what went wrong. */
int coroutine_fn qcow2_check_rebuild(Qcow2Check *c);

int coroutine_fn qcow2_check_read_snapshots(Qcow2Check *c);
int coroutine_fn qcow2_check_write_snapshots(Qcow2Check *c);

#endif

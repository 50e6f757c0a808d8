/* SPDX-License-Identifier: MIT */
/*
 * The CoMutex of util/qemu-coroutine-lock.c for the model checker spin.
 *
 * N coroutines, each in a thread of its own, lock and unlock ROUNDS times. Every access
 * to shared memory is a step of its own; an atomic{} is one read-modify-write. (locked,
 * newest) is the word "state", next[] are the links of the records on the stacks.
 *
 * Checked over all interleavings:
 *   - one holder at a time (assert);
 *   - the mutex is handed on in the order in which records were pushed (assert);
 *   - nobody sleeps for ever: the end state where all have finished is the only one
 *     (spin's search for invalid end states). A lost wake-up is such a state.
 *
 * The checker assumes that all threads see one order of steps. What weaker processors
 * need for that is in the acquire and release marks of the source.
 *
 * BROKEN=1 and 2 are mistakes that the check must find; tests/model/run tries them.
 */
#ifndef N
#define N 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#ifndef BROKEN
#define BROKEN 0
#endif

#define NOBODY 255

bool locked = false;
byte newest = NOBODY;
byte next[N];
byte to_pop = NOBODY;

/* aio_co_wake before or after the yield comes to the same: the coroutine goes on. */
bool woken[N];

/* What is asserted. */
byte inside = 0;
chan line = [N] of { byte };

inline critical_section()
{
    inside++;
    assert(inside == 1);
    inside--;
}

proctype coroutine(byte me)
{
    byte round = 0;
    bool seen_locked;
    byte seen_newest, record, oldest, following, first;

    do
    :: round == ROUNDS -> break
    :: round < ROUNDS ->
        /* qemu_co_mutex_lock: 0 -> LOCKED */
        atomic {
            seen_locked = locked;
            seen_newest = newest;
            if
            :: !locked && newest == NOBODY -> locked = true; goto holding
            :: else
            fi
        }
        /* lock_slowly; spinning is only looking again */
        do
        :: !seen_locked ->
            atomic {
                if
                :: !locked && newest == NOBODY -> locked = true; goto holding
                :: else -> seen_locked = locked; seen_newest = newest
                fi
            }
        :: seen_locked ->
            next[me] = seen_newest;
            atomic {
                if
                :: locked == seen_locked && newest == seen_newest ->
                    newest = me;
                    line!me;
                    break
                :: else -> seen_locked = locked; seen_newest = newest
                fi
            }
        od;
        /* qemu_coroutine_yield */
        atomic { woken[me] -> woken[me] = false };

holding:
        critical_section();

        /* qemu_co_mutex_unlock */
        if
        :: to_pop == NOBODY ->
#if BROKEN == 1
            /* not one step: a record can be pushed in between */
            seen_newest = newest;
            if
            :: seen_newest == NOBODY -> atomic { locked = false; newest = NOBODY }; goto done
            :: else
            fi;
#else
            atomic {
                if
                :: locked && newest == NOBODY -> locked = false; goto done
                :: else
                fi
            };
#endif
            /* take_waiters */
            atomic { record = newest; newest = NOBODY };
            oldest = NOBODY;
            do
            :: record == NOBODY -> break
            :: record != NOBODY ->
                following = next[record];
                next[record] = oldest;
                oldest = record;
                record = following
            od
        :: else -> oldest = to_pop
        fi;
        /* hand_over */
#if BROKEN == 2
        /* the record is read after its owner may have gone on */
        woken[oldest] = true;
        to_pop = next[oldest];
        line?first;
#else
        to_pop = next[oldest];
        line?first;
        assert(first == oldest);
        woken[oldest] = true;
#endif
done:
        round++
    od
}

init {
    byte i = 0;

    atomic {
        do
        :: i < N -> run coroutine(i); i++
        :: else -> break
        od
    };
    (_nr_pr == 1);
    assert(!locked && newest == NOBODY && to_pop == NOBODY && empty(line))
}

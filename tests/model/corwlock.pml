/* SPDX-License-Identifier: MIT */
/*
 * The CoRwlock of util/qemu-coroutine-rwlock.c for the model checker spin.
 *
 * Coroutines in threads of their own: a reader, one that upgrades, a writer, one that
 * downgrades. Each access to the word "state" is a step, a compare-and-exchange an
 * atomic{}. What happens under the mutex is in several steps too, between mutex_lock and
 * mutex_unlock, as others change the state meanwhile.
 *
 * Checked over all interleavings: a writer is alone, readers exclude writers (assert), and
 * nobody sleeps for ever (invalid end states).
 *
 * BROKEN=1 is a mistake that the check must find.
 */
#ifndef BROKEN
#define BROKEN 0
#endif

#define N 4
#define NOBODY 255
#define QUEUED 1
#define WRITER 2
#define READER 4

#define READ 0
#define WRITE 1
#define UPGRADE 2

byte state = 0;
bool mutex = false;
/* Who is in the queue, and whether to write. */
chan tickets = [N] of { byte, bool };
bool woken[N];

byte readers = 0, writers = 0;

inline mutex_lock() { atomic { !mutex -> mutex = true } }
inline mutex_unlock() { mutex = false }

/* Under the mutex: give the lock to the head of the queue, beside "owners". */
inline grant(owners)
{
    do
    :: tickets?[who, _] ->
        tickets?<who, write>;
        if
        :: write && owners != 0 -> break
        :: !write && owners == WRITER -> break
        :: else
        fi;
        tickets?who, write;
        if
        :: write -> owners = owners + WRITER
        :: else -> owners = owners + READER
        fi;
        granted[who] = true
    :: empty(tickets) -> break
    od;
    /* One step: nobody else may change the state now, which the assert checks. */
    atomic {
        assert(state == seen);
        state = owners + (len(tickets) > 0 -> QUEUED : 0)
    }
}

inline wake()
{
    who = 0;
    do
    :: who < N ->
        if
        :: granted[who] -> granted[who] = false; woken[who] = true
        :: else
        fi;
        who++
    :: else -> break
    od
}

#define may_have(s, want) \
    ((want == READ && !(s & (QUEUED | WRITER))) || (want == WRITE && s == 0) || \
     (want == UPGRADE && s == READER))
#define after_having(s, want) (want == READ -> s + READER : WRITER)

inline get(want)
{
    seen = state;
    do
    :: may_have(seen, want) ->
        atomic {
            if
            :: state == seen -> state = after_having(seen, want); goto_wait = false; break
            :: else -> seen = state
            fi
        }
    :: else -> goto_wait = true; break
    od;
    if
    :: goto_wait ->
        mutex_lock();
        seen = state;
        do
        :: may_have(seen, want) ->
            atomic {
                if
                :: state == seen ->
                    state = after_having(seen, want); goto_wait = false; break
                :: else -> seen = state
                fi
            }
        :: else ->
#if BROKEN == 1
            /* set without a look at whether the owners have gone */
            atomic {
                state = (state | QUEUED) - (want == UPGRADE -> READER : 0);
                seen = state;
                break
            }
#else
            to = (seen - (want == UPGRADE -> READER : 0)) | QUEUED;
            atomic {
                if
                :: state == seen -> state = to; seen = to; break
                :: else -> seen = state
                fi
            }
#endif
        od;
        if
        :: goto_wait ->
            tickets!me, (want != READ);
            if
            :: seen == QUEUED && want == UPGRADE ->
                tickets?<who, _>;
                assert(who != me);
                own = 0;
                grant(own)
            :: else
            fi;
            mutex_unlock();
            wake();
            atomic { woken[me] -> woken[me] = false }
        :: else -> mutex_unlock()
        fi
    :: else
    fi
}

inline share_out(keep)
{
    mutex_lock();
    own = keep;
    seen = state;
    grant(own);
    mutex_unlock();
    wake()
}

inline put(share)
{
    seen = state;
    do
    :: (seen & QUEUED) && (seen - QUEUED) == share -> share_out(0); break
    :: else ->
        atomic {
            if
            :: state == seen -> state = seen - share; break
            :: else -> seen = state
            fi
        }
    od
}

inline downgrade()
{
    seen = state;
    if
    :: seen & QUEUED -> share_out(READER)
    :: else ->
        atomic {
            if
            :: state == seen -> state = READER; goto_wait = false
            :: else -> goto_wait = true
            fi
        };
        if
        :: goto_wait -> share_out(READER)
        :: else
        fi
    fi
}

inline reading() { readers++; assert(writers == 0); readers-- }
inline writing() { writers++; assert(writers == 1 && readers == 0); writers-- }

#define LOCALS                                                                           \
    byte seen, to, own, who;                                                             \
    bool write, goto_wait;                                                               \
    bool granted[N]

proctype reader(byte me) { LOCALS; get(READ); reading(); put(READER) }
proctype upgrader(byte me)
{
    LOCALS;
    get(READ); reading(); get(UPGRADE); writing(); put(WRITER)
}
proctype writer(byte me) { LOCALS; get(WRITE); writing(); put(WRITER) }
proctype downgrader(byte me)
{
    LOCALS;
    get(WRITE); writing(); downgrade(); reading(); put(READER)
}

init {
    atomic { run reader(0); run upgrader(1); run writer(2); run downgrader(3) };
    (_nr_pr == 1);
    assert(state == 0 && empty(tickets) && !mutex)
}

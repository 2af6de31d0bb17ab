//! What waits for a thread of the pool.
//!
//! No channel: those spin and yield for a while before they sleep, and the processor has better
//! things to do while a file crosses. And no thread is woken for each job: to sleep and to be woken
//! costs more than to read a small file. While a thread works, one job may wait for it; only when
//! two wait, another thread is woken.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Jobs that may wait for a thread that works, before another thread is woken.
const PATIENT_JOBS: usize = 1;

/// What waits, as the threads see it.
pub(super) struct Queue<J> {
    threads: usize,
    state: Mutex<State<J>>,
    changed: Condvar,
}

struct State<J> {
    jobs: VecDeque<J>,
    /// Threads that sleep, those included that are being woken.
    asleep: usize,
    /// Threads that are being woken.
    woken: usize,
    closed: bool,
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next job; `None` when there will be no more.
    pub(super) fn take(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            if state.closed {
                return None;
            }
            state.asleep += 1;
            while state.woken == 0 && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.woken = state.woken.saturating_sub(1);
            state.asleep -= 1;
        }
    }

    fn put(&self, job: J) {
        let mut state = self.lock();
        state.jobs.push_back(job);
        let free = state.asleep - state.woken;
        let nobody_is_awake = free == self.threads;
        if nobody_is_awake || (free > 0 && state.jobs.len() > PATIENT_JOBS) {
            state.woken += 1;
            drop(state);
            self.changed.notify_one();
        }
    }
}

/// The end where jobs are put in. When it is dropped the threads do what waits, and end.
pub(super) struct Opened<J>(Arc<Queue<J>>);

impl<J> Opened<J> {
    /// A queue that so many threads take from.
    pub(super) fn new(threads: usize) -> Self {
        let state = State { jobs: VecDeque::new(), asleep: 0, woken: 0, closed: false };
        Self(Arc::new(Queue { threads, state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// The other end, for a thread.
    pub(super) fn queue(&self) -> Arc<Queue<J>> {
        self.0.clone()
    }

    pub(super) fn put(&self, job: J) {
        self.0.put(job);
    }
}

impl<J> Drop for Opened<J> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use super::*;

    #[test]
    fn every_job_is_done_once_and_the_threads_end() {
        let jobs = Opened::new(3);
        let (done, results) = channel();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let (queue, done) = (jobs.queue(), done.clone());
                thread::spawn(move || {
                    while let Some(job) = queue.take() {
                        done.send(job).unwrap();
                    }
                })
            })
            .collect();
        drop(done);
        for round in 0..100 {
            for job in 0..10 {
                jobs.put(10 * round + job);
            }
            // The threads sleep again in between, some of the time.
            for _ in 0..10 {
                results.recv().unwrap();
            }
        }
        for job in 0..50 {
            jobs.put(job);
        }
        drop(jobs);
        for thread in threads {
            thread.join().unwrap();
        }
        let mut rest: Vec<_> = results.iter().collect();
        rest.sort_unstable();
        assert_eq!(rest, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn one_job_waits_for_a_thread_that_works_and_two_wake_another() {
        let jobs = Opened::new(2);
        {
            // As if both slept.
            jobs.0.lock().asleep = 2;
        }
        let woken = |jobs: &Opened<u8>| jobs.0.lock().woken;
        jobs.put(1);
        assert_eq!(woken(&jobs), 1);
        // One is on its way: the first job is its own, the second one waits for it.
        jobs.0.lock().jobs.clear();
        jobs.put(2);
        assert_eq!(woken(&jobs), 1);
        jobs.put(3);
        assert_eq!(woken(&jobs), 2);
        jobs.put(4);
        assert_eq!(woken(&jobs), 2, "nobody is left to be woken");
    }
}

//! Turns: one dialog at a time on each screen, in the order in which they were asked for. Who stops waiting loses the place, nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::Refusal;
use super::dialog::Source;

/// More questions of one source do not wait at the same time.
const MOST_OF_ONE: usize = 16;
/// Nor more questions altogether: nobody would answer the last of them in time.
const MOST: usize = 128;

/// Who waits, and the screens they wait for.
#[derive(Default)]
pub(super) struct Queue {
    screens: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    waiting: Arc<Mutex<Vec<Option<Source>>>>,
}

/// A question that waits or is shown, until it is dropped.
pub(super) struct Place {
    waiting: Arc<Mutex<Vec<Option<Source>>>>,
    source: Option<Source>,
}

impl Queue {
    /// Joins the queue.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) fn enter(&self, source: Option<&Source>) -> Result<Place, Refusal> {
        let mut waiting = lock(&self.waiting);
        let of_one = waiting.iter().filter(|other| source.is_some() && other.as_ref() == source).count();
        if of_one >= MOST_OF_ONE || waiting.len() >= MOST {
            return Err(Refusal::TooMany);
        }
        waiting.push(source.cloned());
        Ok(Place { waiting: Arc::clone(&self.waiting), source: source.cloned() })
    }

    /// Waits until the screen is free, and has it until the guard is dropped.
    pub(super) async fn turn(&self, screen: &str) -> OwnedMutexGuard<()> {
        let screen = {
            let mut screens = lock(&self.screens);
            // One that nobody waits for is held by the map alone.
            screens.retain(|_, screen| Arc::strong_count(screen) > 1);
            Arc::clone(screens.entry(screen.to_owned()).or_default())
        };
        screen.lock_owned().await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        if let Some(at) = waiting.iter().position(|other| *other == self.source) {
            waiting.swap_remove(at);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Option<Source> {
        Some(Source::Program(name.to_owned()))
    }

    #[test]
    fn one_source_cannot_take_every_place() {
        let queue = Queue::default();
        let flood: Vec<_> = std::iter::from_fn(|| queue.enter(program("flood").as_ref()).ok()).collect();
        assert_eq!(flood.len(), MOST_OF_ONE);
        assert!(queue.enter(program("other").as_ref()).is_ok());
        drop(flood);
        assert!(queue.enter(program("flood").as_ref()).is_ok());
        let nameless: Vec<_> = std::iter::from_fn(|| queue.enter(None).ok()).take(2 * MOST).collect();
        assert_eq!(nameless.len(), MOST);
    }

    #[tokio::test]
    async fn a_screen_has_one_dialog_and_other_screens_are_free() {
        let queue = Queue::default();
        let first = queue.turn(":0").await;
        let _other = queue.turn(":1").await;
        let soon = std::time::Duration::from_millis(20);
        assert!(tokio::time::timeout(soon, queue.turn(":0")).await.is_err());
        drop(first);
        let _second = queue.turn(":0").await;
    }
}

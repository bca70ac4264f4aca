//! A bounded memory of recent results.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

/// Keeps between `capacity` and twice as many of the most recently used entries.
///
/// Two generations instead of a linked list: when the young one is full, the old one is dropped and the young one
/// takes its place. A hit in the old one moves the entry to the young one.
#[derive(Debug)]
pub(crate) struct RecentCache<K, V> {
    capacity: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, Arc<V>>,
    old: HashMap<K, Arc<V>>,
}

impl<K: Eq + Hash + Clone, V> RecentCache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        let empty = Generations { young: HashMap::new(), old: HashMap::new() };
        Self { capacity: capacity.max(1), generations: Mutex::new(empty) }
    }

    pub(crate) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut guard = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = guard.young.get(key) {
            return Some(Arc::clone(value));
        }
        let value = guard.old.remove(key)?;
        self.put(&mut guard, key.clone(), Arc::clone(&value));
        Some(value)
    }

    pub(crate) fn insert(&self, key: K, value: Arc<V>) {
        self.put(&mut self.generations.lock().unwrap_or_else(PoisonError::into_inner), key, value);
    }

    fn put(&self, generations: &mut Generations<K, V>, key: K, value: Arc<V>) {
        if generations.young.len() >= self.capacity {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let cache = RecentCache::new(4);
        cache.insert(0, Arc::new("used"));
        for key in 1..100 {
            assert!(cache.get(&0).is_some(), "{key}");
            cache.insert(key, Arc::new("passing"));
        }
        assert!(cache.get(&1).is_none());
        let generations = cache.generations.lock().unwrap();
        assert!(generations.young.len() + generations.old.len() <= 8);
    }
}

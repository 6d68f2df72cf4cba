package httpapi

import "sync"

// keyedMutex is a mutex per key, which exists only while it is held or wanted. It is held during calls of the store. Callers wait for it
// on a channel, so that the time of a synctest bubble goes on.
type keyedMutex struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

type keyLock struct {
	// held holds one item while the lock is taken.
	held   chan struct{}
	wanted int
}

func (k *keyedMutex) lock(key string) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = make(map[string]*keyLock)
	}
	l := k.keys[key]
	if l == nil {
		l = &keyLock{held: make(chan struct{}, 1)}
		k.keys[key] = l
	}
	l.wanted++
	k.mu.Unlock()
	l.held <- struct{}{}
}

func (k *keyedMutex) unlock(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.keys[key]
	<-l.held
	if l.wanted--; l.wanted == 0 {
		delete(k.keys, key)
	}
}

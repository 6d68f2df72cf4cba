package httpapi

import "sync"

// keyedMutex is a mutex for each key, kept only while somebody holds or wants it. It is held while engines are asked: those who
// want it wait on a channel, so that time in a synctest bubble goes on meanwhile.
type keyedMutex struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

type keyLock struct {
	// held has room for one who holds the lock.
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

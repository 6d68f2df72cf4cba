package httpapi

import "sync"

// keyedMutex is a mutex for each key, kept only while somebody holds or wants it.
type keyedMutex struct {
	mu   sync.Mutex
	keys map[string]*keyLock
}

type keyLock struct {
	sync.Mutex
	wanted int
}

func (k *keyedMutex) lock(key string) {
	k.mu.Lock()
	if k.keys == nil {
		k.keys = make(map[string]*keyLock)
	}
	l := k.keys[key]
	if l == nil {
		l = &keyLock{}
		k.keys[key] = l
	}
	l.wanted++
	k.mu.Unlock()
	l.Lock()
}

func (k *keyedMutex) unlock(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := k.keys[key]
	l.Unlock()
	if l.wanted--; l.wanted == 0 {
		delete(k.keys, key)
	}
}

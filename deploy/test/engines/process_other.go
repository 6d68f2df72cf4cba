//go:build unix && !linux

package engines

import "syscall"

func (p program) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Chroot: p.root, Credential: p.user}
}

package engines

import "syscall"

// attributes makes the process end with this one, however this one ends.
func (p program) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Chroot: p.root, Credential: p.user}
}

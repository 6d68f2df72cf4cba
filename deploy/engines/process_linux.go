package engines

import "syscall"

// attributes makes the process end with this one, whatever ends this one.
func (p program) attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL, Chroot: p.root, Credential: p.user}
}

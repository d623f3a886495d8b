"""What a hostile program would try. Each returns what it got, or raises.

`control` says where the same attempt is made outside, and must succeed, so that a probe that could
never succeed is noticed: "user" (anybody), "root" (root only), "loose" (in the sandbox, with the
limits of `loose`), or "" where success would harm the machine or depends on its hardware.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

from nebula.sandbox.job import Limits

_MIB = 1024**2
_USUAL = Limits(seconds=60)
_PRELUDE = Path(__file__).with_name("prelude.py").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Probe:
    """One attempt."""

    name: str
    body: str
    control: str = ""
    limits: Limits = _USUAL
    loose: Limits = _USUAL
    network: bool = False

    @property
    def source(self) -> str:
        """The whole program."""
        body = textwrap.indent(textwrap.dedent(self.body).strip(), "    ")
        return f"{_PRELUDE}\ndef attempt():\n{body}\nmain(attempt)\n"


def _limited(**limits: int) -> Limits:
    return Limits(seconds=60, **limits)


FILES = [
    Probe("read the password hashes", 'return read("/etc/shadow")', "root"),
    Probe("read a private SSH key", 'return read(W["home"] + "/.ssh/id_ed25519")', "user"),
    Probe("read the key of the secrets", 'return read(W["home"] + "/jarvis/secrets.key")', "user"),
    Probe("read the project's .env", 'return read(W["outside"] + "/.env")', "user"),
    Probe("list the home folder", 'return something(os.listdir(W["home"]))', "user"),
    Probe("read a hidden file in the writable folder",
          'return something(read(W["work"] + "/.env"))', "user"),
    Probe("read a hidden folder in the writable folder",
          'return something(os.listdir(W["work"] + "/private"))', "user"),
    Probe("list the root folder", 'return os.listdir("/")', "user"),
    Probe("write outside", 'return open(W["outside"] + "/new", "w").write("x")', "user"),
    Probe("write into a read-only folder", 'return open(W["given"] + "/new", "w").write("x")', "user"),
    Probe("change a read-only file", 'return open(W["given"] + "/file", "a").write("x")', "user"),
    Probe("write into a read-only folder below a writable one",
          'return open(W["work"] + "/kept/new", "w").write("x")', "user"),
    Probe("move a read-only folder away",
          'os.rename(W["work"] + "/kept", W["work"] + "/moved"); '
          'os.rename(W["work"] + "/moved", W["work"] + "/kept"); return "moved"', "user"),
    Probe("follow a link out of the writable folder", """
        link = W["work"] + "/link"
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(W["outside"] + "/secret", link)
        return read(link)
    """, "user"),
    Probe("make a hard link to a file outside", """
        link = W["work"] + "/hard"
        if os.path.lexists(link):
            os.unlink(link)
        os.link(W["outside"] + "/secret", link)
        return read(link)
    """, "user"),
    Probe("climb with ..", 'return read(W["work"] + "/../outside/secret")', "user"),
    Probe("reach outside through the first process",
          'return read("/proc/1/root" + W["outside"] + "/secret")'),
    Probe("reach outside through another process",
          'return read("/proc/%d/root%s/secret" % (W["victim"], W["outside"]))', "user"),
    Probe("reach outside through a descriptor of the root folder",
          'd = os.open("/", os.O_PATH); os.fchdir(d); os.chdir("..");'
          'return read("." + W["outside"] + "/secret")', "user"),
    Probe("change the sandbox's own launcher",
          'return open("/run/sandbox/launch.pl", "a").write("x")'),
    Probe("write into /usr", 'return open("/usr/nebula-probe", "w").write("x")'),
    Probe("write into /etc", 'return open("/etc/nebula-probe", "w").write("x")'),
    Probe("write into the root folder", 'return open("/nebula-probe", "w").write("x")'),
    Probe("open a file by its handle", """
        handle = struct.pack("Ii8s", 8, 1, struct.pack("II", 2, 0))
        return call("open_by_handle_at", os.open("/", os.O_PATH), handle, 0)
    """),
]  # fmt: skip

MACHINE = [
    Probe("read the machine's memory", 'return read("/dev/mem")'),
    Probe("read the kernel's log",
          'return os.read(os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK), 8192)', "root"),
    Probe("find a disk", """
        disks = [n for n in os.listdir("/dev") if stat.S_ISBLK(os.stat("/dev/" + n).st_mode)]
        return something(disks)
    """),
    Probe("make a disk", """
        path = W["work"] + "/disk"
        os.mknod(path, stat.S_IFBLK | 0o600, os.makedev(7, 0))
        os.unlink(path)
        return "made"
    """, "root"),
    Probe("make a file in /dev", 'return open("/dev/nebula-probe", "w").write("x")'),
    Probe("see /sys", 'return something(os.listdir("/sys"))', "user"),
    Probe("make a cgroup", 'os.mkdir("/sys/fs/cgroup/nebula-probe"); return "made"'),
    Probe("change a setting of the kernel",
          'return os.open("/proc/sys/kernel/core_pattern", os.O_WRONLY)', "root"),
    Probe("pull the sysrq trigger", 'return os.open("/proc/sysrq-trigger", os.O_WRONLY)'),
    Probe("mount a file system", """
        private()
        return done(libc.mount(b"none", W["work"].encode(), b"tmpfs", 0, None))
    """, "root"),
    Probe("open a file system to mount", 'return call("fsopen", b"tmpfs", 0)', "root"),
    Probe("unmount /proc", 'return done(libc.umount2(b"/proc", 2))'),
    Probe("make /usr writable again", 'return done(libc.mount(None, b"/usr", None, 0x1020, None))'),
    Probe("pivot the root", 'w = W["work"].encode(); return call("pivot_root", w, w)'),
    Probe("chroot", 'os.chroot(W["work"]); return "inside"', "root"),
    Probe("make a user namespace", "return done(libc.unshare(0x10000000))", "root"),
    Probe("start a process in a user namespace", """
        pid = call("clone", 0x10000000 | signal.SIGCHLD, 0, 0, 0, 0)
        if pid == 0:
            os._exit(0)
        return os.waitpid(pid, 0)
    """, "root"),
    Probe("start a process in a user namespace by clone3", """
        arguments = struct.pack("8Q", 0x10000000, 0, 0, 0, signal.SIGCHLD, 0, 0, 0)
        pid = call("clone3", arguments, 64)
        if pid == 0:
            os._exit(0)
        return os.waitpid(pid, 0)
    """, "root"),
    Probe("enter the namespaces of the first process",
          'return call("setns", os.open("/proc/1/ns/mnt", os.O_RDONLY), 0x20000)'),
    Probe("become root", 'os.setuid(0); return os.getuid()', "root"),
    Probe("gain rights by a setuid program", """
        if "NoNewPrivs:\\t1" in open("/proc/self/status").read():
            raise PermissionError("no_new_privs")
        return "could"
    """, "user"),
    Probe("keep a capability", """
        held = [l for l in open("/proc/self/status") if l.startswith(("CapEff", "CapBnd"))]
        return something([l for l in held if int(l.split()[1], 16)])
    """, "user"),
    Probe("load a BPF program", """
        attributes = struct.pack("5I", 2, 4, 8, 1, 0) + bytes(52)
        return call("bpf", 0, attributes, 72)
    """, "root"),
    Probe("watch the processor's counters", """
        attributes = struct.pack("II", 1, 112) + bytes(104)
        return call("perf_event_open", attributes, 0, -1, -1, 0)
    """),
    Probe("handle page faults", 'return call("userfaultfd", 0)', "root"),
    Probe("set up an io_uring", 'return call("io_uring_setup", 4, bytes(120))'),
    Probe("store a key in the kernel",
          'return call("add_key", b"user", b"nebula", b"x", 1, -3)', "user"),
    Probe("look into the kernel's keyrings", 'return call("keyctl", 0, -3, 0)', "user"),
]  # fmt: skip

PROCESSES = [
    Probe("read the environment of the first process",
          'return something(read("/proc/1/environ"))'),
    Probe("read another process's environment",
          'return something(read("/proc/%d/environ" % W["victim"]))', "user"),
    Probe("read another process's memory map",
          'return something(read("/proc/%d/maps" % W["victim"]))', "user"),
    Probe("find the test's processes", """
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if W["marker"].encode() in open("/proc/%s/cmdline" % pid, "rb").read():
                    found.append(pid)
            except OSError:
                continue
        found = [pid for pid in found if int(pid) != os.getpid()]
        return something(found)
    """, "user"),
    Probe("trace another process", """
        done(libc.ptrace(16, W["victim"], None, None))
        os.waitpid(W["victim"], 0x40000000)
        return done(libc.ptrace(17, W["victim"], None, None))
    """, "root"),
    Probe("send another process a signal", 'os.kill(W["victim"], 0); return "there"', "user"),
    Probe("kill everything", """
        os.kill(-1, signal.SIGKILL)
        raise ProcessLookupError("only what is in here")
    """),
    Probe("kill what watches over it", """
        os.kill(1, signal.SIGKILL)
        os.kill(1, signal.SIGTERM)
        raise ProcessLookupError("still here")
    """),
    Probe("use a descriptor left open", 'return something(os.pread(W["descriptor"], 64, 0))', "user"),
    Probe("find a descriptor left open", """
        mine = [int(n) for n in os.listdir("/proc/self/fd")]
        open_now = []
        for number in mine:
            try:
                os.fstat(number)
            except OSError:
                continue
            open_now.append(number)
        return something([n for n in open_now if n > 2])
    """, "user"),
    Probe("read the parent's environment", 'return os.environ["NEBULA_CANARY"]', "user"),
    Probe("inherit what the loader obeys", 'return os.environ["LD_LIBRARY_PATH"]', "user"),
    Probe("attach shared memory of System V",
          'return done(libc.shmget(W["shm_key"], 0, 0))', "user"),
    Probe("open shared memory of POSIX", 'return read("/dev/shm/" + W["shm_name"])', "user"),
    Probe("learn the machine's name", """
        if socket.gethostname() != W["hostname"]:
            raise LookupError(socket.gethostname())
        return W["hostname"]
    """, "user"),
    Probe("type into a terminal", """
        parent, child = pty.openpty()
        return fcntl.ioctl(child, 0x5412, b"x")
    """, "root"),
    Probe("type into a terminal, the request's upper half set", """
        parent, child = pty.openpty()
        return call("ioctl", child, 0x500005412, b"x")
    """, "root"),
]  # fmt: skip

NETWORK = [
    Probe("connect to a port of this machine", """
        with socket.create_connection(("127.0.0.1", W["tcp"]), timeout=5):
            return "connected"
    """, "user"),
    Probe("send a datagram to this machine", """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect(("127.0.0.1", W["udp"]))
            s.send(b"ping")
            return s.recv(16)
    """, "user"),
    Probe("connect to the world", """
        with socket.create_connection(("192.0.2.1", 443), timeout=5):
            return "connected"
    """),
    Probe("resolve a name", 'return socket.getaddrinfo("example.com", 443)'),
    Probe("see a network card",
          'return something([n for _, n in socket.if_nameindex() if n != "lo"])'),
    Probe("open a raw socket",
          "return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)", "root"),
    Probe("open a packet socket", "return socket.socket(17, socket.SOCK_RAW, 0)", "root"),
    Probe("open a socket to the hypervisor", "return socket.socket(40, socket.SOCK_STREAM)"),
    Probe("open a socket to the hypervisor, the family's upper half set",
          'return call("socket", 0x500000028, 1, 0)'),
    Probe("connect to an abstract socket", """
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("\\0" + W["abstract"])
            return "connected"
    """, "user"),
    Probe("connect to an abstract socket, with the network", """
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("\\0" + W["abstract"])
            return "connected"
    """, "user", network=True),
    Probe("connect to the database's socket", """
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(W["database"])
            return "connected"
    """, "user"),
    Probe("connect to the database's socket, with the network", """
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(W["database"])
            return "connected"
    """, "user", network=True),
    Probe("connect to Docker", """
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("/var/run/docker.sock")
            return "connected"
    """),
]  # fmt: skip

BOMBS = [
    Probe("start processes without end", """
        for number in range(200):
            if os.fork() == 0:
                signal.pause()
        return number
    """, "loose", _limited(processes=40), _limited(processes=300)),
    Probe("fill its folder with one file", """
        with open(W["work"] + "/big", "wb") as file:
            for _ in range(32):
                file.write(bytes(1024**2))
        os.unlink(W["work"] + "/big")
        return "filled"
    """, "loose", _limited(file=4 * _MIB), _limited(file=64 * _MIB)),
    Probe("fill /tmp", """
        for number in range(32):
            with open("/tmp/%d" % number, "wb") as file:
                file.write(bytes(1024**2))
        return "filled"
    """, "loose", _limited(scratch=8 * _MIB), _limited(scratch=64 * _MIB)),
    Probe("fill /dev/shm", """
        for number in range(32):
            with open("/dev/shm/%d" % number, "wb") as file:
                file.write(bytes(1024**2))
        return "filled"
    """, "loose", _limited(scratch=8 * _MIB), _limited(scratch=64 * _MIB)),
    Probe("open files without end", """
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(500)]
        return len(held)
    """, "loose", _limited(open_files=64), _limited(open_files=600)),
    Probe("lock memory", """
        memory = mmap.mmap(-1, 8 * 1024**2)
        buffer = (ctypes.c_char * len(memory)).from_buffer(memory)
        return done(libc.mlock(ctypes.byref(buffer), ctypes.c_size_t(8 * 1024**2)))
    """, "root"),
]  # fmt: skip

PROBES = [*FILES, *MACHINE, *PROCESSES, *NETWORK, *BOMBS]

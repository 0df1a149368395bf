# What a program sees of its sockets, without what differs between two hosts.
import array, ctypes, errno, fcntl, os, select, socket, struct, sys, termios
HOST, ECHO, DATAGRAMS, RESETS, CLOSED = sys.argv[1], *map(int, sys.argv[2:6])

def show(name, call):
    try: print(name, call(), flush=True)
    except OSError as e: print(name, errno.errorcode.get(e.errno, e), flush=True)

def echo(): return socket.create_connection((HOST, ECHO))

def code(number): return errno.errorcode.get(number, number)

def events(s, timeout=3000):
    p = select.poll(); p.register(s, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
    return [hex(e) for _, e in p.poll(timeout)]

def everything(s, n=-1):
    out = b""
    while n < 0 or len(out) < n:
        b = s.recv(65536)
        if not b: break
        out += b
    return out

def nonblocking(port):
    s = socket.socket(); s.setblocking(False)
    first = code(s.connect_ex((HOST, port)))
    return first, events(s), code(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)), code(s.connect_ex((HOST, port)))
show("nonblocking connect", lambda: nonblocking(ECHO))
show("nonblocking refused", lambda: nonblocking(CLOSED)[:3])

def again():
    s = echo(); return code(s.connect_ex((HOST, ECHO)))
show("connect twice", again)
show("blocking refused", lambda: code(socket.socket().connect_ex((HOST, CLOSED))))

def refused_then_connected():
    s = socket.socket(); first = code(s.connect_ex((HOST, CLOSED))); s.connect((HOST, ECHO)); s.sendall(b"x"); return first, s.recv(1)
show("refused, then connected", refused_then_connected)

def names():
    s = echo(); return s.getpeername() == (HOST, ECHO), s.getsockname()[1] != 0, s.family, s.type
show("names", names)
show("no peer", lambda: socket.socket().getpeername())

def copy():
    s = socket.socket(fileno=os.dup(echo().fileno())); return s.family, s.type, s.proto
show("a copy", copy)

def half():
    s = echo(); s.sendall(b"abc"); s.shutdown(socket.SHUT_WR); return everything(s)
show("half-close", half)

def peek():
    s = echo(); s.sendall(b"abc"); return s.recv(2, socket.MSG_PEEK), s.recv(10)
show("MSG_PEEK", peek)

def waitall():
    s = echo(); s.sendall(b"ab"); s.sendall(b"cd"); return s.recv(4, socket.MSG_WAITALL)
show("MSG_WAITALL", waitall)

def readable():
    s = echo(); s.sendall(b"abc"); events(s); s.recv(3, socket.MSG_WAITALL | socket.MSG_PEEK)
    n = array.array("i", [0]); fcntl.ioctl(s, termios.FIONREAD, n); return n[0]
show("FIONREAD", readable)

def child():
    s = echo(); p = os.fork()
    if p == 0: s.sendall(b"child"); os._exit(0)
    os.waitpid(p, 0); return s.recv(10)
show("a child sends", child)

def child_of_its_own():
    r, w = os.pipe(); p = os.fork()
    if p == 0:
        s = echo(); s.sendall(b"new"); os.write(w, s.recv(10)); os._exit(0)
    os.waitpid(p, 0); return os.read(r, 100)
show("a child makes its own", child_of_its_own)

def sendfile():
    s = echo()
    with open("/etc/passwd", "rb") as f:
        want = f.read(500); n = os.sendfile(s.fileno(), f.fileno(), 0, 500); return n == len(want), everything(s, n) == want
show("sendfile", sendfile)

def edge():
    s = socket.socket(); s.setblocking(False)
    e = select.epoll(); e.register(s, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
    e.poll(0); s.connect_ex((HOST, ECHO)); s.setblocking(True)
    p = select.poll(); p.register(s, select.POLLOUT); p.poll(3000)
    a = e.poll(3); s.sendall(b"x"); s.recv(1, socket.MSG_PEEK)
    return [hex(x) for _, x in a], [hex(x & 1) for _, x in e.poll(3)]
show("epoll, edge-triggered", edge)

def large():
    s = echo(); data = os.urandom(3000000); got = b""
    p = os.fork()
    if p == 0: s.sendall(data); s.shutdown(socket.SHUT_WR); os._exit(0)
    got = everything(s); os.waitpid(p, 0); return got == data
show("three megabytes", large)

def options():
    s = echo(); out = []
    for level, name, value in [(6, 1, 1), (1, 9, 1), (6, 4, 30), (6, 5, 5), (6, 6, 3), (6, 18, 7000), (0, 2, 33), (0, 1, 16), (1, 2, 1)]:
        first = s.getsockopt(level, name); s.setsockopt(level, name, value); out.append((first, s.getsockopt(level, name)))
    return out
show("options", options)

def linger():
    s = socket.socket(); s.setsockopt(1, 13, struct.pack("ii", 1, 5)); return struct.unpack("ii", s.getsockopt(1, 13, 8)), s.getsockopt(1, 3), s.getsockopt(1, 30), s.getsockopt(1, 38), s.getsockopt(1, 39)
show("linger, type, listening, protocol, domain", linger)
show("TCP_INFO", lambda: (len(echo().getsockopt(6, 11, 200)), echo().getsockopt(6, 11, 1)))
show("congestion control", lambda: len(echo().getsockopt(6, 13, 16)))
show("IPv6 only", lambda: (lambda s: (s.getsockopt(41, 26), s.setsockopt(41, 26, 1), s.getsockopt(41, 26)))(socket.socket(socket.AF_INET6)))

def timeout():
    s = echo(); s.setsockopt(1, 20, struct.pack("ll", 0, 10000)); return s.recv(1)
show("SO_RCVTIMEO", timeout)

def datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b"dg", (HOST, DATAGRAMS))
    data, sender = s.recvfrom(100); return data, sender == (HOST, DATAGRAMS), s.getsockname()[0], s.getsockname()[1] != 0
show("datagram", datagram)

def connected():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect((HOST, DATAGRAMS)); s.send(b"dg")
    return s.recv(100), s.getsockname()[0] != "0.0.0.0", s.getpeername() == (HOST, DATAGRAMS)
show("connected datagrams", connected)

def disconnected():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((HOST, DATAGRAMS))
    print(ctypes.CDLL(None).connect(s.fileno(), bytes(16), 16)); s.getpeername()
show("disconnected datagrams", disconnected)

def message():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendmsg([b"a", b"bc"], [], 0, (HOST, DATAGRAMS))
    data, control, flags, sender = s.recvmsg(2); return data, control, flags == socket.MSG_TRUNC, sender == (HOST, DATAGRAMS)
show("messages", message)

def in_order():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); out = []
    for i in range(20): s.sendto(b"%d" % i, (HOST, DATAGRAMS))
    for i in range(20): out.append(int(s.recvfrom(9)[0]))
    return out == list(range(20))
show("twenty datagrams", in_order)

def empty():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.sendto(b"", (HOST, DATAGRAMS)); s.sendto(b"x", (HOST, DATAGRAMS))
    return s.recvfrom(9)[0], s.recvfrom(9)[0]
show("an empty datagram", empty)
show("a datagram too long", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(bytes(65508), (HOST, DATAGRAMS)))
show("a datagram to nowhere", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("0.0.0.0", 0)))

def shared():
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for s in pair: s.setsockopt(1, 2, 1); s.settimeout(5)
    pair[0].bind(("127.0.0.1", 0)); pair[1].bind(pair[0].getsockname()); out = []
    near = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for s in near: s.bind(("127.0.0.1", 0))
    pair[0].connect(near[0].getsockname())
    for s in near: s.sendto(b"%d" % near.index(s), pair[1].getsockname())
    for s in pair: out.append(s.recvfrom(9)[0])
    return out, [s.getsockopt(1, 2) for s in pair]
show("two sockets on one port", shared)

def written():
    s = echo(); s.shutdown(socket.SHUT_WR); s.send(b"x")
show("send after SHUT_WR", written)

def port():
    l = socket.socket(); l.bind(("0.0.0.0", 0)); a = l.getsockname(); l.listen(); return a[1] != 0, a == l.getsockname()
show("bind to port 0", port)

def taken():
    a = socket.socket(); a.bind(("0.0.0.0", 0)); a.listen(); socket.socket().bind(a.getsockname())
show("bind to a port in use", taken)

def reused():
    l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("0.0.0.0", 0)); port = l.getsockname()[1]; l.listen(); l.close()
    for _ in range(50): l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("0.0.0.0", port)); l.listen(); l.close()
    for _ in range(50):
        l = socket.socket(); l.setsockopt(1, 2, 1); l.bind(("127.0.0.1", port)); l.listen(); c = socket.create_connection(l.getsockname())
        a, _ = l.accept(); l.close(); a.close(); c.close()
    u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 0)); port = u.getsockname()[1]; u.close()
    for _ in range(50): u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", port)); u.close()
    return True
show("a port is free when its socket is closed", reused)

def reused_by_listeners():
    def bound(port, reuse=1):
        s = socket.socket(); s.setsockopt(1, 15, reuse); s.bind(("0.0.0.0", port)); return s
    pair = [bound(0)]; port = pair[0].getsockname()[1]; pair.append(bound(port))
    try: bound(port, 0); out = ["bound without it"]
    except OSError as e: out = [code(e.errno)]
    for l in pair: l.listen(64)
    near = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]; taken = [[], []]
    while sum(map(len, taken)) < len(near):
        for l in select.select(pair, [], [])[0]: taken[pair.index(l)].append(l.accept()[0])
    out += [min(map(len, taken)) > 5, pair[0].getsockname() == pair[1].getsockname()]
    pair[0].close(); c = socket.create_connection(("127.0.0.1", port)); pair[1].accept()[0].sendall(b"x"); out.append(c.recv(1))
    return out
show("listeners on one port", reused_by_listeners)
show("bind to another's address", lambda: socket.socket().bind(("192.0.2.1", 0)))
show("bind twice", lambda: (lambda s: (s.bind(("0.0.0.0", 0)), s.bind(("0.0.0.0", 0))))(socket.socket()))
show("accept without listen", lambda: socket.socket().accept())

def nothing_to_accept():
    l = socket.socket(); l.bind(("0.0.0.0", 0)); l.listen(); l.setblocking(False); return events(l, 0), l.accept()
show("nothing to accept", nothing_to_accept)

def listener():
    l = socket.socket(); l.bind(("127.0.0.1", 0)); l.listen(); c = socket.create_connection(l.getsockname())
    ready = events(l); s, a = l.accept(); s.sendall(b"hi")
    return ready, a == c.getsockname(), s.getsockname() == c.getpeername(), c.recv(2), l.getsockopt(1, 30)
show("a listener", listener)

def reset_after_bytes():
    s = socket.create_connection((HOST, RESETS)); s.sendall(b"x"); s.recv(6, socket.MSG_WAITALL | socket.MSG_PEEK); out = [everything(s, 6)]
    try: s.recv(1)
    except OSError as e: out.append(code(e.errno))
    return out, s.recv(1)
show("a reset after bytes", reset_after_bytes)

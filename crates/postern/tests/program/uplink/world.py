"""The outside world, or what else is on the host: servers that end with the region that they were started for."""
import ctypes, os, socket, struct, subprocess, sys, threading, time

PR_SET_PDEATHSIG, SIGKILL = 1, 9
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
role, folder = sys.argv[1:3]


def serve(address, port, talk):
    listener = socket.create_server((address, port))

    def accept():
        while True:
            connection, peer = listener.accept()
            threading.Thread(target=talk, args=(connection, peer), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def http(connection, peer):
    request = connection.recv(65536)
    path = request.split(b" ")[1] if b" " in request else b"?"
    text = b"hello %s from %s\n" % (path, peer[0].encode())
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(text), text))
    connection.close()


def count(connection, peer):
    """Says how much came, once the other side has said that this is all."""
    total = 0
    while data := connection.recv(1 << 20):
        total += len(data)
    connection.sendall(b"%d bytes\n" % total)
    connection.close()


def tick(connection, peer):
    """Speaks for ever, and leaves word when it cannot any more."""
    try:
        while True:
            connection.sendall(b".")
            time.sleep(0.05)
    except OSError as error:
        open(os.path.join(folder, "broken"), "w").write(str(error))


def udp_echo(address, port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, port))
    while True:
        data, peer = server.recvfrom(65536)
        times = 3 if data.startswith(b"3") else 1
        server.sendto(data * times + b" from " + peer[0].encode(), peer)


def take_over():
    """Gives the host an address that somebody outside had, when it is asked for, and notes what comes there."""
    while not os.path.exists(os.path.join(folder, "take")):
        time.sleep(0.01)
    subprocess.run(["ip", "address", "add", "203.0.113.7/32", "dev", "up0"], check=True)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("203.0.113.7", 7))
    open(os.path.join(folder, "taken"), "w").close()
    while True:
        data = server.recv(65536)
        with open(os.path.join(folder, "reached"), "ab") as reached:
            reached.write(data + b"\n")


def name_end(query):
    at = 12
    while query[at]:
        at += query[at] + 1
    return at + 5


def dns_answer(query, by_tcp):
    end = name_end(query)
    name, kind = query[12:end - 4].lower(), struct.unpack("!H", query[end - 4:end - 2])[0]
    record = lambda kind, data: b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
    web = b"\x03web\x07example\x00"
    flags, answers = 0x8180, []
    if name == web and kind == 1:
        answers = [record(1, socket.inet_aton("203.0.113.80"))]
    elif name == web and kind == 65400:
        answers = [record(65400, b"\xc0\x01\x02\x03")]
    elif name == b"\x03big\x07example\x00" and kind == 16:
        if by_tcp:
            answers = [record(16, b"\xc8" + b"x" * 200)] * 3
        else:
            flags |= 0x0200
    elif name != web:
        flags |= 3
    return query[:2] + struct.pack("!HHHHH", flags, 1, len(answers), 0, 0) + query[12:end] + b"".join(answers)


def dns_by_udp(address):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        query, peer = server.recvfrom(4096)
        with open(os.path.join(folder, "asked"), "ab") as asked:
            asked.write(query[12:name_end(query) - 4] + b"\n")
        server.sendto(dns_answer(query, False), peer)


def dns_by_tcp(connection, peer):
    length = struct.unpack("!H", connection.recv(2))[0]
    answer = dns_answer(connection.recv(length), True)
    connection.sendall(struct.pack("!H", len(answer)) + answer)
    connection.close()


def relay(listener):
    """From a socket in the folder to a port of the host's, which the first line names."""
    while True:
        client, _ = listener.accept()
        port = b""
        while not port.endswith(b"\n"):
            port += client.recv(1)
        server = socket.create_connection(("127.0.0.1", int(port)))

        def pump(source, sink):
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        for pair in (client, server), (server, client):
            threading.Thread(target=pump, args=pair, daemon=True).start()


if role == "outside":
    while not os.path.exists("/proc/self/net/dev") or "out0" not in open("/proc/self/net/dev").read():
        time.sleep(0.01)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for last in 7, 53, 80:
        subprocess.run(["ip", "address", "add", "203.0.113.%d/24" % last, "dev", "out0"], check=True)
    subprocess.run(["ip", "link", "set", "out0", "up"], check=True)
    # A router that says of a network that nobody may go there.
    open("/proc/sys/net/ipv4/ip_forward", "w").write("1")
    subprocess.run(["ip", "route", "add", "prohibit", "192.0.2.0/24"], check=True)
    serve("203.0.113.80", 80, http)
    serve("203.0.113.7", 9, count)
    serve("203.0.113.7", 13, tick)
    serve("203.0.113.53", 53, dns_by_tcp)
    for target in (udp_echo, ("203.0.113.7", 7)), (dns_by_udp, ("203.0.113.53",)):
        threading.Thread(target=target[0], args=target[1], daemon=True).start()
else:
    # What an instance must never reach.
    serve("0.0.0.0", 8080, http)
    threading.Thread(target=take_over, daemon=True).start()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.join(folder, "relay"))
    listener.listen(64)
    threading.Thread(target=relay, args=(listener,), daemon=True).start()
open(os.path.join(folder, role), "w").close()
threading.Event().wait()

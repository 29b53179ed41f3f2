// One link of a chain of TCP relays, the yardstick of bench/peers/swarm: it passes on bytes as they
// arrive.
//   chain serve FILE PORT                          sends FILE to whoever connects first
//   chain relay ADDRESS PORT FILE [LISTEN_PORT]    from ADDRESS into FILE and, with LISTEN_PORT, to
//   the next relay
// Exits with 0 once all bytes are through, and with 1 and a message when something fails.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <thread>

namespace {

constexpr std::size_t buffer_bytes = 64 * 1024;
constexpr int wake_bytes =
    16 * 1024;  // 1.3 ms at 100 Mbit/s; fewer would cost more wake-ups than time
constexpr int unsent_bytes_max = 128 * 1024;  // what waits in the kernel only adds delay

int checked(int result, const char* what) {
  if (result < 0) {
    std::fprintf(stderr, "chain: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
  }
  return result;
}

int tcp_socket() { return checked(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"); }

sockaddr_in address_of(const char* address, const char* port) {
  sockaddr_in result{};
  result.sin_family = AF_INET;
  result.sin_port = htons(static_cast<std::uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, address, &result.sin_addr) != 1) {
    std::fprintf(stderr, "chain: %s is no address\n", address);
    std::exit(1);
  }
  return result;
}

int listen_on(const char* port) {
  const int listener = tcp_socket();
  const int yes = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const sockaddr_in own = address_of("0.0.0.0", port);
  checked(bind(listener, reinterpret_cast<const sockaddr*>(&own), sizeof own), "bind");
  checked(listen(listener, 1), "listen");
  return listener;
}

int accept_one(int listener) {
  const int connection = checked(accept(listener, nullptr, nullptr), "accept");
  const int yes = 1;
  setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  setsockopt(connection, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_bytes_max,
             sizeof unsent_bytes_max);
  return connection;
}

// All relays start at the same moment: the one before may not listen yet.
int connect_to(const char* address, const char* port) {
  const sockaddr_in other = address_of(address, port);
  for (int attempt = 0; attempt < 5000; ++attempt) {
    const int connection = tcp_socket();
    if (connect(connection, reinterpret_cast<const sockaddr*>(&other), sizeof other) == 0) {
      return connection;
    }
    close(connection);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return checked(-1, "connect");
}

void write_all(int descriptor, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t written = write(descriptor, data, size);
    if (written < 0 && errno == EINTR) continue;
    checked(static_cast<int>(written), "write");
    data += written;
    size -= static_cast<std::size_t>(written);
  }
}

int serve(const char* path, const char* port) {
  const int listener = listen_on(port);
  const int file = checked(open(path, O_RDONLY | O_CLOEXEC), path);
  struct stat about {};
  checked(fstat(file, &about), "fstat");
  const int next = accept_one(listener);
  for (off_t offset = 0; offset < about.st_size;) {
    const auto rest = static_cast<std::size_t>(about.st_size - offset);
    checked(static_cast<int>(sendfile(next, file, &offset, std::min(rest, std::size_t{1} << 20))),
            "sendfile");
  }
  close(next);
  return 0;
}

int relay(const char* address, const char* port, const char* path, const char* listen_port) {
  const int listener = listen_port != nullptr ? listen_on(listen_port) : -1;
  const int file = checked(open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), path);
  const int before = connect_to(address, port);
  setsockopt(before, SOL_SOCKET, SO_RCVLOWAT, &wake_bytes, sizeof wake_bytes);
  const int next = listener >= 0 ? accept_one(listener) : -1;
  std::array<char, buffer_bytes> buffer;
  while (true) {
    const ssize_t size = read(before, buffer.data(), buffer.size());
    if (size < 0 && errno == EINTR) continue;
    checked(static_cast<int>(size), "read");
    if (size == 0) break;
    if (next >= 0) write_all(next, buffer.data(), static_cast<std::size_t>(size));
    write_all(file, buffer.data(), static_cast<std::size_t>(size));
  }
  if (next >= 0) close(next);
  close(file);
  return 0;
}

}  // namespace

int main(int count, char** words) {
  const std::string_view verb = count > 1 ? words[1] : "";
  if (verb == "serve" && count == 4) return serve(words[2], words[3]);
  if (verb == "relay" && (count == 5 || count == 6)) {
    return relay(words[2], words[3], words[4], count == 6 ? words[5] : nullptr);
  }
  std::fprintf(stderr, "chain serve FILE PORT | chain relay ADDRESS PORT FILE [LISTEN_PORT]\n");
  return 2;
}

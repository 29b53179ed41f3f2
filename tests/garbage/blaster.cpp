// Throws garbage at waggle nodes over UDP and TCP and counts every byte that comes back.
//   garbage_blaster capture FILE PORT     records what passes on any interface until SIGTERM
//   garbage_blaster udp FILE KIND COUNT RATE SEED TARGET...      RATE in datagrams/s, 0 = all
//   garbage_blaster tcp FILE KIND COUNT PARALLEL SEED TARGET...  one connection each
// TARGET is a.b.c.d:port; GARBAGE_FROM=a.b.c.d,count dials from that many addresses. Prints one
// JSON line. Used by tests/e2e/cases/garbage.py.
#include "seeds.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <stdexcept>
#include <tuple>

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace waggle::garbage {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t datagram_bytes_max = 1400;
constexpr std::size_t stream_bytes_max = 16 * 1024;
constexpr std::size_t datagrams_kept = 20'000;
constexpr auto settle_time = 300ms;  ///< an answer later than this does not exist on one machine
constexpr auto patience = 100ms;     ///< how long a connection may be kept without a byte

sockaddr_in parse_target(const std::string& text) {
  const auto colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (colon == std::string::npos ||
      inet_pton(AF_INET, text.substr(0, colon).c_str(), &address.sin_addr) != 1) {
    throw std::runtime_error(text + " is not a.b.c.d:port");
  }
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(text.substr(colon + 1))));
  return address;
}

std::vector<sockaddr_in> parse_targets(std::span<char*> arguments) {
  std::vector<sockaddr_in> targets;
  for (const char* argument : arguments) targets.push_back(parse_target(argument));
  if (targets.empty()) throw std::runtime_error("no target");
  return targets;
}

/// The addresses of GARBAGE_FROM, any port.
std::vector<sockaddr_in> sources() {
  const char* const from = std::getenv("GARBAGE_FROM");
  if (from == nullptr) return {};
  const std::string text = from;
  const auto comma = text.find(',');
  const sockaddr_in first = parse_target(text.substr(0, comma) + ":0");
  std::vector<sockaddr_in> all(static_cast<std::size_t>(std::stoi(text.substr(comma + 1))), first);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].sin_addr.s_addr = htonl(ntohl(first.sin_addr.s_addr) + static_cast<std::uint32_t>(i));
  }
  return all;
}

int checked(int result, const char* what) {
  if (result < 0) throw std::runtime_error(std::string(what) + ": " + std::strerror(errno));
  return result;
}

// --- capture -------------------------------------------------------------------------------------

class Capture {
 public:
  explicit Capture(std::uint16_t port) : port_(port) {}

  /// One IPv4 packet, without its link header.
  void take(std::span<const unsigned char> packet) {
    if (packet.size() < 20 || packet[0] >> 4U != 4) return;
    const std::size_t header = (packet[0] & 15U) * std::size_t{4};
    const std::size_t total = packet[2] * std::size_t{256} + packet[3];
    if (total > packet.size() || header + 8 > total) return;
    const auto body = packet.subspan(header, total - header);
    const auto port_at = [&](std::size_t at) {
      return static_cast<std::uint16_t>(body[at] << 8U | body[at + 1]);
    };
    if (packet[9] == IPPROTO_UDP && port_at(2) == port_) {
      if (seeds.datagrams.size() < datagrams_kept) {
        seeds.datagrams.emplace_back(body.begin() + 8, body.end());
      }
    } else if (packet[9] == IPPROTO_TCP && body.size() >= 20 && port_at(2) == port_) {
      const std::size_t offset = (body[12] >> 4U) * std::size_t{4};
      if (offset >= body.size()) return;
      // Streams by who dials whom, as far as they came in order, which they do on one machine.
      Blob& stream = streams_[{Blob(packet.begin() + 12, packet.begin() + 20), port_at(0)}];
      const auto data = body.subspan(offset);
      const std::size_t room = stream_bytes_max - stream.size();
      stream.insert(stream.end(), data.begin(),
                    data.begin() + static_cast<std::ptrdiff_t>(std::min(room, data.size())));
    }
  }
  Seeds& finish() {
    for (auto& [who, stream] : streams_) {
      if (stream.size() > 4 && std::equal(stream.begin(), stream.begin() + 4, "WGL1")) {
        seeds.streams.push_back(stream);
      }
    }
    return seeds;
  }

  Seeds seeds;

 private:
  std::uint16_t port_;
  std::map<std::pair<Blob, std::uint16_t>, Blob> streams_;
};

volatile std::sig_atomic_t ended = 0;

int capture(std::span<char*> arguments) {
  const auto port = static_cast<std::uint16_t>(std::stoi(arguments[1]));
  std::signal(SIGTERM, [](int) { ended = 1; });
  const int fd = checked(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)), "packet socket");
  const int room = 32 << 20;
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  Capture captured(port);
  std::array<unsigned char, 1 << 16> buffer{};
  while (ended == 0) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, 20) <= 0) continue;
    sockaddr_ll from{};
    socklen_t length = sizeof from;
    const ssize_t size =
        recvfrom(fd, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
    // What this machine sends itself passes twice: take it when it arrives.
    if (size > 0 && from.sll_pkttype != PACKET_OUTGOING) {
      captured.take({buffer.data(), static_cast<std::size_t>(size)});
    }
  }
  close(fd);
  const Seeds& seeds = captured.finish();
  seeds.save(arguments[0]);
  const auto undirected = std::ranges::count_if(seeds.datagrams, [](const Blob& datagram) {
    return datagram.size() > 3 && datagram[3] == 0;
  });
  std::printf("{\"datagrams\": %zu, \"undirected\": %td, \"streams\": %zu}\n",
              seeds.datagrams.size(), undirected, seeds.streams.size());
  return 0;
}

// --- UDP -----------------------------------------------------------------------------------------

struct Received {
  std::size_t packets = 0;
  std::size_t bytes = 0;
};

class UdpBlaster {
 public:
  static constexpr std::size_t socket_count = 16;
  static constexpr std::size_t batch = 32;

  explicit UdpBlaster(std::vector<sockaddr_in> targets) : targets_(std::move(targets)) {
    for (int& fd : sockets_) {
      fd = checked(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), "udp socket");
      sockaddr_in any{};
      any.sin_family = AF_INET;
      checked(bind(fd, reinterpret_cast<sockaddr*>(&any), sizeof any), "bind");
    }
  }
  UdpBlaster(const UdpBlaster&) = delete;
  UdpBlaster& operator=(const UdpBlaster&) = delete;
  ~UdpBlaster() {
    for (const int fd : sockets_) close(fd);
  }

  /// @param fill  makes one datagram
  template <typename Fill>
  void run(std::size_t count, double rate, Fill fill) {
    const auto began = Clock::now();
    while (sent < count) {
      if (rate > 0) {
        const auto due = began + std::chrono::duration<double>(static_cast<double>(sent) / rate);
        while (Clock::now() < due) usleep(500);
      }
      send_batch(std::min(batch, count - sent), fill);
      receive();
    }
    const auto end = Clock::now() + settle_time;
    while (Clock::now() < end) {
      receive();
      usleep(5000);
    }
  }

  std::size_t sent = 0;
  Received received;

 private:
  template <typename Fill>
  void send_batch(std::size_t count, Fill fill) {
    std::array<mmsghdr, batch> messages{};
    std::array<iovec, batch> parts{};
    const int fd = sockets_.at(next_++ % socket_count);
    for (std::size_t i = 0; i < count; ++i) {
      Blob& datagram = datagrams_.at(i);
      fill(datagram);
      if (datagram.size() > 1472) datagram.resize(1472);
      parts.at(i) = {datagram.data(), datagram.size()};
      auto& to = targets_[(sent + i) % targets_.size()];
      messages.at(i).msg_hdr = {.msg_name = &to,
                                .msg_namelen = sizeof to,
                                .msg_iov = &parts.at(i),
                                .msg_iovlen = 1,
                                .msg_control = nullptr,
                                .msg_controllen = 0,
                                .msg_flags = 0};
    }
    for (std::size_t done = 0; done < count;) {
      const int taken = sendmmsg(fd, &messages.at(done), static_cast<unsigned>(count - done), 0);
      if (taken > 0) {
        done += static_cast<std::size_t>(taken);
      } else if (errno == EAGAIN || errno == ENOBUFS || errno == ECONNREFUSED) {
        usleep(100);
      } else {
        checked(-1, "sendmmsg");
      }
    }
    sent += count;
  }

  void receive() {
    std::array<unsigned char, 2048> buffer{};
    for (const int fd : sockets_) {
      for (;;) {
        const ssize_t size = recv(fd, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (size < 0) break;
        ++received.packets;
        received.bytes += static_cast<std::size_t>(size);
      }
    }
  }

  std::vector<sockaddr_in> targets_;
  std::array<int, socket_count> sockets_{};
  std::array<Blob, batch> datagrams_;
  std::size_t next_ = 0;
};

int udp(std::span<char*> arguments) {
  const Seeds seeds = Seeds::load(arguments[0]);
  const Kind kind = kind_of(arguments[1]);
  std::mt19937_64 random(std::stoull(arguments[4]));
  UdpBlaster blaster(parse_targets(arguments.subspan(5)));
  const auto began = Clock::now();
  blaster.run(std::stoull(arguments[2]), std::stod(arguments[3]), [&](Blob& datagram) {
    make(kind, seeds.datagrams, {datagram_bytes_max, datagram_bytes_max + 64}, random, datagram);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - began - settle_time).count();
  std::printf("{\"sent\": %zu, \"seconds\": %.3f, \"answers\": %zu, \"answer_bytes\": %zu}\n",
              blaster.sent, seconds, blaster.received.packets, blaster.received.bytes);
  return 0;
}

// --- TCP -----------------------------------------------------------------------------------------

/// Keeps `parallel` connections busy: each sends its garbage, listens until the node closes it or
/// its patience ends, and goes away with a reset, so that no port stays behind.
class TcpBlaster {
 public:
  TcpBlaster(std::vector<sockaddr_in> targets, std::size_t parallel)
      : targets_(std::move(targets)),
        slots_(parallel),
        epoll_(checked(epoll_create1(0), "epoll")) {}
  TcpBlaster(const TcpBlaster&) = delete;
  TcpBlaster& operator=(const TcpBlaster&) = delete;
  ~TcpBlaster() { close(epoll_); }

  template <typename Fill>
  void run(std::size_t count, Fill fill) {
    std::size_t open = 0;
    std::size_t started = 0;
    while (started < count || open > 0) {
      for (auto& slot : slots_) {
        if (slot.fd < 0 && started < count && start(slot, fill)) {
          ++started;
          ++open;
        }
      }
      std::array<epoll_event, 64> events{};
      const int ready = epoll_wait(epoll_, events.data(), events.size(), 5);
      for (int i = 0; i < ready; ++i) {
        Slot& slot = *static_cast<Slot*>(events.at(static_cast<std::size_t>(i)).data.ptr);
        if (slot.fd >= 0 && !serve(slot, events.at(static_cast<std::size_t>(i)).events)) {
          finish(slot, closed_by_node);
          --open;
        }
      }
      for (auto& slot : slots_) {
        if (slot.fd >= 0 && Clock::now() > slot.until) {
          finish(slot, given_up);
          --open;
        }
      }
    }
  }

  std::size_t connections = 0, refused = 0, closed_by_node = 0, given_up = 0;
  std::size_t answered = 0, answer_bytes = 0, answer_bytes_max = 0;

 private:
  struct Slot {
    int fd = -1;
    Blob garbage;
    std::size_t written = 0;
    std::size_t answer = 0;
    Clock::time_point until;
  };

  template <typename Fill>
  bool start(Slot& slot, Fill fill) {
    slot.fd = checked(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), "tcp socket");
    const linger reset{1, 0};
    setsockopt(slot.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    if (!sources_.empty()) {
      const auto& from = sources_[connections % sources_.size()];
      checked(bind(slot.fd, reinterpret_cast<const sockaddr*>(&from), sizeof from), "bind");
    }
    const auto& to = targets_[connections % targets_.size()];
    if (connect(slot.fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0 &&
        errno != EINPROGRESS) {
      ++refused;
      close(slot.fd);
      slot.fd = -1;
      return false;
    }
    ++connections;
    fill(slot.garbage);
    slot.written = slot.answer = 0;
    slot.until = Clock::now() + patience;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT;
    event.data.ptr = &slot;
    checked(epoll_ctl(epoll_, EPOLL_CTL_ADD, slot.fd, &event), "epoll_ctl");
    return true;
  }

  /// False when the connection is over.
  bool serve(Slot& slot, std::uint32_t events) {
    if ((events & EPOLLIN) != 0) {
      std::array<unsigned char, 4096> buffer{};
      for (;;) {
        const ssize_t size = recv(slot.fd, buffer.data(), buffer.size(), 0);
        if (size < 0 && errno == EAGAIN) break;
        if (size <= 0) return false;
        slot.answer += static_cast<std::size_t>(size);
      }
    }
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) return false;
    if ((events & EPOLLOUT) != 0 && slot.written < slot.garbage.size()) {
      const ssize_t size = send(slot.fd, slot.garbage.data() + slot.written,
                                slot.garbage.size() - slot.written, MSG_NOSIGNAL);
      if (size < 0 && errno != EAGAIN) return false;
      if (size > 0) slot.written += static_cast<std::size_t>(size);
    }
    if (slot.written == slot.garbage.size()) {
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.ptr = &slot;
      checked(epoll_ctl(epoll_, EPOLL_CTL_MOD, slot.fd, &event), "epoll_ctl");
    }
    return true;
  }

  void finish(Slot& slot, std::size_t& how) {
    ++how;
    if (slot.answer > 0) ++answered;
    answer_bytes += slot.answer;
    answer_bytes_max = std::max(answer_bytes_max, slot.answer);
    close(slot.fd);
    slot.fd = -1;
  }

  std::vector<sockaddr_in> targets_;
  std::vector<sockaddr_in> sources_ = sources();
  std::vector<Slot> slots_;
  int epoll_;
};

int tcp(std::span<char*> arguments) {
  const Seeds seeds = Seeds::load(arguments[0]);
  const Kind kind = kind_of(arguments[1]);
  std::mt19937_64 random(std::stoull(arguments[4]));
  TcpBlaster blaster(parse_targets(arguments.subspan(5)), std::stoull(arguments[3]));
  const auto began = Clock::now();
  blaster.run(std::stoull(arguments[2]), [&](Blob& stream) {
    make(kind, seeds.streams, {proof_bytes, stream_bytes_max}, random, stream);
  });
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  std::printf(
      "{\"sent\": %zu, \"seconds\": %.3f, \"refused\": %zu, \"closed_by_node\": %zu, "
      "\"given_up\": %zu, \"answers\": %zu, \"answer_bytes\": %zu, \"answer_bytes_max\": %zu}\n",
      blaster.connections, seconds, blaster.refused, blaster.closed_by_node, blaster.given_up,
      blaster.answered, blaster.answer_bytes, blaster.answer_bytes_max);
  return 0;
}

int run(std::span<char*> arguments) {
  const std::string verb = arguments.size() > 1 ? arguments[1] : "";
  const auto rest = arguments.subspan(std::min<std::size_t>(2, arguments.size()));
  if (verb == "capture" && rest.size() == 2) return capture(rest);
  if (verb == "udp" && rest.size() > 5) return udp(rest);
  if (verb == "tcp" && rest.size() > 5) return tcp(rest);
  std::fprintf(stderr, "usage: see the head of tests/garbage/blaster.cpp\n");
  return 2;
}

}  // namespace
}  // namespace waggle::garbage

int main(int argc, char** argv) {
  try {
    return waggle::garbage::run({argv, static_cast<std::size_t>(argc)});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "garbage_blaster: %s\n", error.what());
    return 1;
  }
}

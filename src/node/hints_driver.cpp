// getaddrinfo(3) can't be cancelled and may take as long as it likes: each lookup has a thread,
// which nobody waits for.
#include "node/hints_driver.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <array>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <netdb.h>
#include <netinet/in.h>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

struct Answer {
  std::vector<Endpoint> addresses;
  std::string problem;  ///< empty: it resolved
};

std::optional<Endpoint> to_endpoint(const addrinfo& entry, std::uint16_t port) {
  Endpoint endpoint;
  if (entry.ai_family == AF_INET6) {
    sockaddr_in6 address{};
    std::memcpy(&address, entry.ai_addr, sizeof(address));
    std::memcpy(endpoint.address.data(), &address.sin6_addr, endpoint.address.size());
    endpoint.port = port;
    return endpoint;
  }
  if (entry.ai_family != AF_INET) return std::nullopt;
  sockaddr_in address{};
  std::memcpy(&address, entry.ai_addr, sizeof(address));
  std::array<std::uint8_t, 4> octets{};
  std::memcpy(octets.data(), &address.sin_addr, octets.size());
  return Endpoint::v4(octets[0], octets[1], octets[2], octets[3], port);
}

Answer ask_system(const HintQuery& query) {
  addrinfo wanted{};
  wanted.ai_family = AF_UNSPEC;
  wanted.ai_socktype = SOCK_DGRAM;
  addrinfo* first = nullptr;
  const int failed = ::getaddrinfo(query.host.c_str(), nullptr, &wanted, &first);
  if (failed != 0) return {{}, ::gai_strerror(failed)};
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owned(first, &::freeaddrinfo);
  Answer answer;
  for (const addrinfo* entry = first; entry != nullptr; entry = entry->ai_next) {
    if (const auto endpoint = to_endpoint(*entry, query.port))
      answer.addresses.push_back(*endpoint);
  }
  return answer;
}

}  // namespace

/// Where lookups leave their answers; closed when the driver goes, and with it the executor.
struct HintsDriver::Mailbox {
  std::mutex mutex;
  bool open = true;
};

HintsDriver::HintsDriver(asio::any_io_executor executor, const std::vector<JoinHint>& hints,
                         std::uint64_t seed, HintsDeps deps)
    : executor_(std::move(executor)),
      deps_(std::move(deps)),
      book_(deps_.now(), hints, deps_.own(), seed),
      mailbox_(std::make_shared<Mailbox>()),
      timer_(executor_) {}

HintsDriver::~HintsDriver() {
  const std::lock_guard lock(mailbox_->mutex);
  mailbox_->open = false;
}

void HintsDriver::start() {
  if (book_.has_names()) asio::co_spawn(executor_, wait_timer(), asio::detached);
  pump();
}

void HintsDriver::note_members() {
  if (!book_.has_names()) return;
  book_.set_alone(deps_.now(), deps_.alone());
  pump();
}

void HintsDriver::pump() {
  while (const auto query = book_.poll_query()) look_up(*query);
  while (const auto notice = book_.poll_notice()) {
    if (notice->problem.empty()) {
      spdlog::info("join hint {} resolves to {} addresses", notice->text, notice->addresses);
    } else {
      spdlog::warn("join hint {} does not resolve: {}; trying again, at least every 30 s",
                   notice->text, notice->problem);
    }
  }
  if (auto list = book_.poll_list()) deps_.apply(std::move(*list));
  const auto due = book_.poll_timeout();
  timer_.expires_after(due ? std::max(Duration{0}, *due - deps_.now()) : HintBook::interval);
}

void HintsDriver::look_up(const HintQuery& query) {
  auto run = [this, query, mailbox = mailbox_, executor = executor_] {
    Answer answer = ask_system(query);
    const std::lock_guard lock(mailbox->mutex);
    if (!mailbox->open) return;
    asio::post(executor, [this, mailbox, name = query.name, answer = std::move(answer)]() mutable {
      if (!mailbox->open) return;  // this is the driver's own thread
      book_.set_own(deps_.own());
      book_.set_alone(deps_.now(), deps_.alone());
      if (answer.problem.empty()) {
        book_.handle_answer(deps_.now(), name, std::move(answer.addresses));
      } else {
        book_.handle_failure(deps_.now(), name, answer.problem);
      }
      pump();
    });
  };
  try {
    std::thread(std::move(run)).detach();
  } catch (const std::system_error& error) {
    book_.handle_failure(deps_.now(), query.name, error.what());
  }
}

asio::awaitable<void> HintsDriver::wait_timer() {
  const auto mailbox = mailbox_;
  while (mailbox->open) {
    (void)co_await timer_.async_wait(no_throw);
    if (!mailbox->open) co_return;
    // A cancelled wait means that pump() moved the deadline.
    if (timer_.expiry() > std::chrono::steady_clock::now()) continue;
    book_.handle_timeout(deps_.now());
    pump();
  }
}

}  // namespace waggle::node

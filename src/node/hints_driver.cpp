// getaddrinfo(3) can't be cancelled and may take as long as it likes: each lookup has a thread,
// which nobody waits for.
#include "node/hints_driver.hpp"

#include "base/name_lookup_driver.hpp"

#include <spdlog/spdlog.h>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

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
    NameAnswer answer = look_up_name(query.host, query.port);
    const std::lock_guard lock(mailbox->mutex);
    if (!mailbox->open) return;
    asio::post(executor, [this, mailbox, name = query.name, answer = std::move(answer)]() mutable {
      if (!mailbox->open) return;  // this is the driver's own thread
      book_.set_own(deps_.own());
      book_.set_alone(deps_.now(), deps_.alone());
      if (answer.problem.empty()) {
        book_.handle_answer(deps_.now(), name, std::move(answer.endpoints));
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

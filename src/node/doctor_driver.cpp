// Probes run side by side; the examination ends when all have, or after its deadline.
#include "node/doctor_driver.hpp"

#include "base/descriptor_driver.hpp"
#include "base/keys.hpp"
#include "base/socket_address_driver.hpp"
#include "node/address_driver.hpp"
#include "node/state_files_driver.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <unistd.h>

namespace waggle::node {
namespace {

namespace asio = boost::asio;
constexpr auto no_throw = asio::as_tuple(asio::use_awaitable);

constexpr auto connect_time = std::chrono::milliseconds(1500);
constexpr auto examination_time = std::chrono::seconds(6);
constexpr const char* no_answer = "no answer";
constexpr std::size_t members_probed_max = 64;
constexpr std::size_t registries_probed_max = 16;

/// One examination; probes keep it alive.
struct Examination {
  Examination(asio::any_io_executor executor_in, DoctorQuestions questions_in)
      : executor(std::move(executor_in)),
        questions(std::move(questions_in)),
        facts(questions.facts),
        changed(executor) {}
  asio::any_io_executor executor;
  DoctorQuestions questions;
  ops::DoctorFacts facts;
  asio::steady_timer changed;
  std::size_t running = 0;
};
using Shared = std::shared_ptr<Examination>;

void look_at_keys(Examination& examination) {
  for (const auto& file : examination.questions.key_files) {
    ops::DoctorFacts::KeyFile key{file, {}, 0};
    struct stat status {};
    if (::stat(file.c_str(), &status) == 0) key.mode = status.st_mode & 07777U;
    const auto text = read_file(file, 256);
    if (!text) {
      key.problem = text.error().message();
    } else if (!ClusterKey::parse(*text)) {
      key.problem = "is not base64 of 32 bytes";
    }
    examination.facts.keys.push_back(std::move(key));
  }
}

void look_at_clock(ops::DoctorFacts& facts) {
  timex clock{};
  const int state = ::adjtimex(&clock);
  facts.clock_synchronised = state < 0 || (state != TIME_ERROR && (clock.status & STA_UNSYNC) == 0);
}

void look_at_data_dir(ops::DoctorFacts& facts) {
  const std::string probe = facts.data_dir + "/doctor-probe";
  const auto written = write_file_atomically(probe, "x", 0600);
  if (!written) facts.data_dir_problem = written.error().message();
  ::unlink(probe.c_str());
}

/// The kernel's path MTU towards `to`; 0 when it cannot tell.
std::uint64_t path_mtu(const Endpoint& to) {
  const bool v4 = to.is_v4();
  const Descriptor socket(::socket(v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket.is_open()) return 0;
  SocketAddress address = to_socket_address(to);
  if (::connect(socket.get(), address.get(), address.size) != 0) return 0;
  int mtu = 0;
  socklen_t size = sizeof(mtu);
  const bool told = ::getsockopt(socket.get(), v4 ? IPPROTO_IP : IPPROTO_IPV6,
                                 v4 ? IP_MTU : IPV6_MTU, &mtu, &size) == 0;
  return told && mtu > 0 ? static_cast<std::uint64_t>(mtu) : 0;
}

/// Runs `probe` beside the others.
void start(const Shared& examination, asio::awaitable<void> probe) {
  ++examination->running;
  asio::co_spawn(
      examination->executor,
      [](Shared shared, asio::awaitable<void> body) -> asio::awaitable<void> {
        co_await std::move(body);
        --shared->running;
        shared->changed.cancel();
      }(examination, std::move(probe)),
      asio::detached);
}

/// Empty when one of the addresses took the connection.
asio::awaitable<std::string> tcp_problem(asio::any_io_executor executor,
                                         asio::ip::tcp::resolver::results_type addresses) {
  boost::beast::tcp_stream stream(executor);
  stream.expires_after(connect_time);
  const auto [error, endpoint] = co_await stream.async_connect(addresses, no_throw);
  co_return error ? error.message() : std::string();
}

bool is_own(const Examination& examination, const Endpoint& endpoint) {
  const auto& own = examination.questions.own;
  return std::any_of(own.begin(), own.end(), [&](const Endpoint& mine) {
    if (mine == endpoint) return true;
    const auto local = local_address_towards(endpoint, endpoint.port);
    return mine.port == endpoint.port && local && *local == endpoint;
  });
}

asio::awaitable<void> probe_hint(Shared examination, std::size_t index) {
  const DoctorQuestions::Hint hint = examination->questions.hints[index];
  ops::DoctorFacts::Hint fact{hint.text, {}, false};
  asio::ip::tcp::resolver resolver(examination->executor);
  const auto [error, addresses] = co_await resolver.async_resolve(hint.host, hint.port, no_throw);
  if (error) {
    fact.problem = error.message();
  } else {
    for (const auto& address : addresses) {
      const auto endpoint = Endpoint::parse_address(address.endpoint().address().to_string(),
                                                    address.endpoint().port());
      fact.is_self = fact.is_self || (endpoint && is_own(*examination, *endpoint));
    }
    if (!fact.is_self) fact.problem = co_await tcp_problem(examination->executor, addresses);
  }
  examination->facts.hints[index] = std::move(fact);
}

asio::awaitable<void> probe_member(Shared examination, std::size_t index, Endpoint endpoint) {
  asio::ip::tcp::resolver resolver(examination->executor);
  const auto [error, addresses] = co_await resolver.async_resolve(
      endpoint.address_string(), std::to_string(endpoint.port), no_throw);
  if (error) co_return;
  const auto problem = co_await tcp_problem(examination->executor, addresses);
  examination->facts.members[index].tcp_open = problem.empty();
}

// The caller keeps `upstream` until every probe is over.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters)
asio::awaitable<void> probe_registry(Shared examination, mirror::UpstreamDriver& upstream,
                                     std::size_t index) {
  ops::DoctorFacts::Registry fact;
  const std::string name = fact.name = examination->questions.registries[index];
  const auto origin = upstream.origin_of(name);
  if (!origin) {
    fact.problem = origin.error().message();
  } else {
    fact.origin = *origin;
    mirror::UpstreamTarget target;
    target.url = *origin + "/v2/";
    const auto request = upstream.get(std::move(target));
    const auto head = co_await request->start();
    if (head) {
      fact.status = head->status;
      fact.retry_after = head->retry_after;
      if (const auto seconds = parse_http_date(head->date)) {
        const auto ahead = std::chrono::seconds(std::time(nullptr) - *seconds);
        examination->facts.skews.push_back({name, ahead});
      }
    } else {
      fact.problem = head.error().message();
    }
  }
  examination->facts.registries[index] = std::move(fact);
}

void start_probes(const Shared& examination, mirror::UpstreamDriver& upstream) {
  const auto& questions = examination->questions;
  for (std::size_t i = 0; i < questions.hints.size(); ++i) {
    examination->facts.hints.push_back({questions.hints[i].text, no_answer, false});
    start(examination, probe_hint(examination, i));
  }
  std::size_t probed = 0;
  auto& members = examination->facts.members;
  for (std::size_t i = 0; i < members.size() && probed < members_probed_max; ++i) {
    const auto place = questions.members.find(members[i].name);
    if (members[i].is_self || place == questions.members.end()) continue;
    ++probed;
    if (members[i].state == "alive") {
      examination->facts.paths.push_back({members[i].name, path_mtu(place->second)});
    } else if (members[i].state != "left") {
      start(examination, probe_member(examination, i, place->second));
    }
  }
  const auto count = std::min(questions.registries.size(), registries_probed_max);
  for (std::size_t i = 0; i < count; ++i) {
    examination->facts.registries.push_back({questions.registries[i], {}, 0, no_answer, {}});
    start(examination, probe_registry(examination, upstream, i));
  }
}

}  // namespace

std::optional<std::int64_t> parse_http_date(const std::string& text) {
  std::tm date{};
  const char* end = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
  if (end == nullptr || *end != '\0') return std::nullopt;
  return static_cast<std::int64_t>(::timegm(&date));
}

asio::awaitable<ops::DoctorFacts> examine(
    asio::any_io_executor executor,
    // NOLINTNEXTLINE(cppcoreguidelines-avoid-reference-coroutine-parameters)
    mirror::UpstreamDriver& upstream, DoctorQuestions questions) {
  const auto examination = std::make_shared<Examination>(executor, std::move(questions));
  look_at_keys(*examination);
  look_at_clock(examination->facts);
  look_at_data_dir(examination->facts);
  start_probes(examination, upstream);
  const auto deadline = std::chrono::steady_clock::now() + examination_time;
  while (examination->running > 0 && std::chrono::steady_clock::now() < deadline) {
    examination->changed.expires_at(deadline);
    co_await examination->changed.async_wait(no_throw);
  }
  co_return examination->facts;
}

}  // namespace waggle::node

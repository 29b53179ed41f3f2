// getaddrinfo(3) on a few threads.
#include "mirror/name_resolver_driver.hpp"

#include "base/name_lookup_driver.hpp"

#include <boost/asio/post.hpp>

namespace waggle::mirror {
namespace {

constexpr std::size_t thread_count = 4;

}  // namespace

NameResolver::NameResolver(boost::asio::any_io_executor executor)
    : executor_(std::move(executor)), threads_(thread_count) {}

NameResolver::~NameResolver() {
  threads_.stop();
  threads_.join();
}

void NameResolver::async_resolve(const std::string& host, std::uint16_t port,
                                 std::function<void(Result<std::vector<Endpoint>>)> done) {
  if (const auto literal = Endpoint::parse_address(host, port))
    return done(std::vector<Endpoint>{*literal});
  boost::asio::post(threads_, [executor = executor_, host, port, done = std::move(done)]() mutable {
    auto answer = look_up_name(host, port);
    boost::asio::post(executor, [done = std::move(done), answer = std::move(answer)]() mutable {
      if (!answer.problem.empty()) return done(MirrorError::resolve_failed);
      done(std::move(answer.endpoints));
    });
  });
}

}  // namespace waggle::mirror

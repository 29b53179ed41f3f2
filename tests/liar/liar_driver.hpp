// A daemon that lies: an honest core whose commands are carried out dishonestly. For end-to-end
// tests only; what each lie costs the others: docs/adversity.md.
#pragma once

#include "node/node_driver.hpp"

#include <boost/asio/steady_timer.hpp>

#include <cstdint>
#include <optional>
#include <string>

namespace waggle::liar {

enum class Lie : std::uint8_t {
  bytes,        ///< sends wrong bytes
  midstate,     ///< one entry of its midstate lists is wrong
  forged_list,  ///< its lists are forged from a chunk on, and its bytes fit them
  holdings,     ///< says that it holds `target` and never sends a block of it
  claims,       ///< takes claims and fetches nothing
  crec,         ///< signs and serves made-up chunks of `target`
  flood,        ///< announces and wants thousands of blobs that do not exist
};

struct LiarConfig {
  Lie lie{};
  std::optional<Digest> target;
  std::uint64_t size = 0;  ///< of `target`
};

class LiarDriver final : public node::NodeDriver {
 public:
  LiarDriver(node::ConfigResult config, node::ConfigLoader loader, const LiarConfig& liar);

 private:
  void execute(node::Command command) override;
  void send(const transfer::SendBlock& block);
  void tell_list(const Digest& digest);
  void make_up(const transfer::StartFetch& start);
  void make_up_chunk(const transfer::StartFetch& start, ChunkIndex chunk);
  void start_up();
  [[nodiscard]] bool is_forged(ChunkIndex chunk) const;

  LiarConfig liar_;
  boost::asio::steady_timer timer_;
};

}  // namespace waggle::liar

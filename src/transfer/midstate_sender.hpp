// Sends a midstate list in parts. Used for complete blobs and by swarms.
#pragma once

#include "transfer/exchange_context.hpp"
#include "transfer/proof.hpp"

#include <span>

namespace waggle::transfer {

struct ListTarget {
  SessionId session{};
  SwarmTag tag;
  std::uint64_t size = 0;  ///< of the blob
};

/// As another prover signed it.
void send_list(ExchangeContext& context, const ListTarget& target, std::span<const Midstate> list,
               const ListSignature& signature);
/// Signed by this node. @pre this node has proven the blob
void send_own_list(ExchangeContext& context, const ListTarget& target, const Digest& digest,
                   std::span<const Midstate> list);

}  // namespace waggle::transfer

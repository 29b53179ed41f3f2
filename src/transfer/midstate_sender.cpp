// Parts of at most midstates_per_part_max entries, in order.
#include "transfer/midstate_sender.hpp"

#include <algorithm>

namespace waggle::transfer {

void send_list(ExchangeContext& context, const ListTarget& target, std::span<const Midstate> list,
               const ListSignature& signature) {
  std::size_t first = 0;
  do {
    const auto part = list.subspan(first, std::min(midstates_per_part_max, list.size() - first));
    MidstatesMessage message{
        .tag = target.tag, .size = target.size, .part = {}, .prover = {}, .signature = {}};
    message.first = static_cast<std::uint32_t>(first);
    message.total = static_cast<std::uint32_t>(list.size());
    message.part.assign(part.begin(), part.end());
    message.prover = signature.prover;
    message.signature = signature.signature;
    context.send(target.session, message);
    first += part.size();
  } while (first < list.size());
}

void send_own_list(ExchangeContext& context, const ListTarget& target, const Digest& digest,
                   std::span<const Midstate> list) {
  send_list(context, target, list,
            ListSignature::make(context.identity, context.config.cluster_name, digest, target.size,
                                list));
}

}  // namespace waggle::transfer

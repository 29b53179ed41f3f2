// Checks of member records over time.
#include "sim/checkers/checkers.hpp"
#include "sim/simulator.hpp"

namespace waggle::sim {

void check_membership(Simulator& simulator) {
  CheckMemory& memory = simulator.memory();
  if (simulator.now() < memory.second_next) return;
  for (const NodeIndex i : simulator.observers()) {
    if (simulator.node(i) == nullptr) continue;
    for (const auto& member : simulator.node(i)->core().gossip().members()) {
      const auto key = std::make_tuple(i, simulator.life_of(i), member.id);
      const auto before = memory.members.find(key);
      if (before != memory.members.end()) {
        const auto& [state, incarnation] = before->second;
        expect(simulator, member.incarnation >= incarnation, "incarnations never fall");
        const bool was_gone =
            state == gossip::MemberState::faulty || state == gossip::MemberState::left;
        const bool is_back = member.state == gossip::MemberState::alive;
        expect(simulator, !(was_gone && is_back) || member.incarnation > incarnation,
               "the dead come back only with a higher incarnation");
      }
      memory.members[key] = {member.state, member.incarnation};
    }
  }
}

}  // namespace waggle::sim

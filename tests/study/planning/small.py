"""A small plan that the tests vary: two node types, three ways to have them."""

from __future__ import annotations

from typing import Any

import hpcsim
from hpcsim import Scenario

__all__ = ["small"]


def small(**changes: Any) -> Scenario:
    """Return Llama-3 8B on 200 G tokens: A100 or H100 nodes, owned, on demand or spot, at two sites."""
    scenario = hpcsim.load(
        {
            "schema": 1,
            "name": "small-plan",
            "question": "What trains it in time?",
            "cluster": {
                "nodes": {"h100": {"type": "dgx-h100", "count": 8}},
                "fabric": {"topology": "fat-tree", "link": "infiniband-ndr", "per_node": 8},
                "storage": {"lake": {"type": "lustre", "capacity": "100 TB", "read": "40 GB/s", "write": "20 GB/s", "power": "2 kW"}},
            },
            "workload": {
                "training": {
                    "llama": {
                        "model": "llama3-8b", "tokens": 200e9, "global_batch": 512, "sequence": 8192, "checkpoint": {"to": "lake"},
                    }
                }
            },
            "failures": {"node": {"mtbf": "6000 h", "repair": "24 h"}},
            "plan": {
                "goals": {"train": {"llama": {"within": "20 days"}}},
                "options": {
                    "nodes": {"h100": {"type": "dgx-h100", "price": "310 kUSD"}, "a100": {"type": "dgx-a100-80gb", "price": "199 kUSD"}},
                    "counts": [64, 128, 256],
                    "sites": {
                        "here": {"country": "DEU", "pue": 1.3, "carbon": "300 g/kWh", "electricity": "0.2 USD/kWh", "power": "5 MW"},
                        "there": {"country": "SWE", "pue": 1.1, "carbon": "20 g/kWh", "electricity": "0.1 USD/kWh", "racks": 60},
                    },
                    "owners": {
                        "owned": {"kind": "owned", "lifetime": "5 years", "interest": 0.08, "maintenance": 0.03, "staff": 1},
                        "on-demand": {"kind": "on-demand", "providers": ["nebius", "lambda"]},
                        "spot": {"kind": "spot", "providers": ["nebius", "aws"], "interruptions": 0.1, "most": 128},
                    },
                },
                "seeds": 2,
            },
        }
    )  # fmt: skip
    return scenario.vary({f"plan.{key}": value for key, value in changes.items()}) if changes else scenario

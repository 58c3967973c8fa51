"""Make the starter backbone again: train its architecture on RSICD's training split.

python -m bench.starter.pretrain --data-root DATA [--epochs 5] [--out starter.safetensors]
"""

import argparse
import json
from pathlib import Path

import torch

from bench import backbone, data
from bench.messages import Event, Step, event_to_json
from bench.recipe import Recipe
from bench.training import batches, train
from bench.workbench import Model, Workbench
from methods import registry

RECIPE = Recipe(epochs=5, batch_size=128, lr=1e-3, weight_decay=0.1, evaluations=20)


def main() -> None:
    """Train, select on validation, test once, write the weights and their numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", type=Path, default=None)
    parser.add_argument("--epochs", type=float, default=RECIPE.epochs)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--lr", type=float, default=RECIPE.lr)
    parser.add_argument("--out", type=Path, default=backbone.STARTER / "starter.safetensors")
    args = parser.parse_args()
    recipe = Recipe(
        **{**RECIPE.__dict__, "epochs": args.epochs, "steps": args.steps, "lr": args.lr}
    )
    dataset = data.load(data.card("rsicd"), data.data_root(args.data_root))
    bench = Workbench(dataset, backbone.load("starter:none"))
    split = bench.training()
    base, table = bench.backbone, bench.tokens
    model = Model.build(registry()["full"], {}, base, recipe, seed=0)
    method, device = model.method, model.device
    loader = batches.Loader(
        split, table, method.train_caption, batch_size=recipe.batch_size, seed=0, device=device
    )

    def recall(name: str) -> dict[str, float]:
        return model.rank(bench.evaluation(name))[0]

    def show(event: Event) -> None:
        if isinstance(event, Step) and (event.evaluation is not None or event.step == 30):
            print(event_to_json(event), flush=True)

    fitted = train.fit(method, loader, recipe, args.lr, lambda: recall("val")["mR"], show)
    method.load_own_state({k: v.to(device) for k, v in fitted.best_state.items()})
    rows = torch.unique(torch.cat([table([c]).flatten() for five in split.captions for c in five]))
    backbone.save_starter(base.model.cpu().state_dict(), rows, args.out)
    base.model.load_state_dict(
        backbone.starter_state(args.out)
    )  # what was saved, as it was rounded
    method.to(device)
    numbers = {
        "best_step": fitted.best_step,
        "steps": fitted.curve[-1]["step"],
        "seconds": fitted.efficiency["train_seconds"],
        "recipe": recipe.__dict__,
        "val": recall("val"),
        "test": recall("test"),
    }
    args.out.with_name("pretrain.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()

"""A protein family: an autoencoder of its alignment, a map of its sequences, and what every mutation costs.

python examples/protein_alignment.py --path family.fasta.gz --picture family.png

Without a path: the Kunitz domain (Pfam PF00014) where `JENSEN_DATA` has it in `msa`, else a simulated family.
"""

from __future__ import annotations

import argparse

import torch

from jensen.datasets import protein_alignment, simulated_alignment, split
from jensen.inference import SVI, TraceMeanField_ELBO, log_evidence, mutation_effects, mutation_scan
from jensen.models import AlignmentVAE


def main(steps: int = 10_000, path: str = "", particles: int = 500, picture: str = "") -> None:
    try:
        data = protein_alignment(path or "PF00014_mgap6.fasta.gz", unknown="gap", test_size=0.1)
    except FileNotFoundError:
        if path:
            raise
        data = split(simulated_alignment(2_000, 40, num_clades=6), test_size=0.1)
    print(data)
    print(f"effective number of training sequences: {data.effective_size:,.0f}")

    # The weight of each sequence enters the objective, as if the sequence stood in the data that many times.
    torch.manual_seed(0)  # of the start of the networks
    model = AlignmentVAE(num_columns=data.train["x"].shape[1])
    method = SVI(TraceMeanField_ELBO(), steps=steps, lr=1e-3, batch_size=128, optimizer_options={"weight_decay": 1e-5})
    fit = method.fit(model, data.train, seed=0)
    print(fit)

    # Held-out sequences, against columns that know nothing of one another.
    x = data.test["x"]
    held_out = log_evidence(fit, data.test, num_particles=particles).per_datum
    one_hot = torch.nn.functional.one_hot(data.train["x"], 21)
    counts = torch.einsum("nda,n->da", one_hot.to(data.train["weight"].dtype), data.train["weight"]) + 1 / 21
    profile = torch.log(counts / counts.sum(-1, keepdim=True))
    independent = profile.gather(1, x.T).sum(0).mean()
    print(f"log evidence of a held-out sequence: {held_out} nats; independent columns: {independent:.2f}")

    # The wild type is the commonest letter of every column.
    wild_type = data.consensus()
    sequence = fit.model.decode_letters(wild_type.unsqueeze(0))[0]
    scan = mutation_scan(fit, wild_type, num_particles=particles)
    cost = scan.matrix.sum(1) / 19
    hardest = cost.argsort()[:5].tolist()
    print(f"wild type: {sequence}")
    print("columns that bear mutations worst: " + ", ".join(f"{sequence[k]}{k + 1} ({cost[k]:.1f})" for k in hardest))
    worst = f"{sequence[hardest[0]]}{hardest[0] + 1}{'A' if sequence[hardest[0]] != 'A' else 'G'}"
    print(f"{worst}: {mutation_effects(fit, wild_type, [worst], num_particles=4 * particles)[worst]} nats")

    if picture:
        from jensen.studies.pictures import alignment_picture, save

        with torch.no_grad():
            means = fit.model.embed(data.train["x"])
        identity = (data.train["x"] == wild_type).float().mean(1)
        drawn = alignment_picture(means, identity, "identity to the wild type", scan.matrix, sequence, scan.letters)
        save(drawn, picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--path", default="", help="an alignment in FASTA or a3m format, plain or gzipped")
    parser.add_argument("--particles", type=int, default=500, help="draws of the latent for each mutant")
    parser.add_argument("--picture", default="", help="write the map and the mutations to this file")
    main(**vars(parser.parse_args()))

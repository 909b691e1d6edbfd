"""Topics of Reuters news (or, without the `lda` package, of scikit-learn's own documentation), and how good they are.

python examples/topics.py --picture topics.png
python examples/topics.py --model prodlda
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil

import torch

from jensen.datasets import Dataset, reuters, texts
from jensen.inference import CAVI, SVI, TraceMeanField_ELBO, document_completion, npmi_coherence
from jensen.models import LatentDirichletAllocation, ProdLDA, top_words


def documentation() -> Dataset:
    """The docstrings of scikit-learn's classes and functions: real text that is in every installation."""
    found: dict[str, str] = {}
    sklearn = importlib.import_module("sklearn")
    for module in pkgutil.iter_modules(sklearn.__path__, "sklearn."):
        if module.name.split(".")[1][0] != "_" and module.name not in ("sklearn.conftest", "sklearn.tests"):
            for name, value in vars(importlib.import_module(module.name)).items():
                if (inspect.isclass(value) or inspect.isfunction(value)) and name[0] != "_":
                    found[name] = inspect.getdoc(value) or ""
    long = [text for text in found.values() if len(text) > 500]
    return texts(
        long, name="documentation", stop_words="english", min_documents=3, max_documents=0.3, test_size=0.2, seed=0
    )


def main(steps: int | None = None, model: str = "lda", topics: int = 20, picture: str = "") -> None:
    try:
        data = reuters(test_size=0.2, seed=0)
    except ImportError:
        data = documentation()
    print(data)
    assert data.test is not None
    train = data.select("x").train

    if model == "lda":
        # Each sweep raises the bound; the factors of the topics are the guide's, a document's follow from its words.
        lda = LatentDirichletAllocation(num_topics=topics, num_words=data.num_features, alpha=0.1, eta=0.1)
        fit = CAVI(steps=steps or 50, tolerance=1e-3).fit(lda, train, seed=0)
        found, shares = fit.guide.topics, fit.guide.proportions(train["x"]).mean(0)
        completion = document_completion(found, data.test["x"], alpha=0.1)
    else:
        torch.manual_seed(0)  # of the start of the networks
        prod_lda = ProdLDA(num_topics=topics, num_words=data.num_features)
        fit = SVI(TraceMeanField_ELBO(), steps=steps or 1_500, lr=2e-3, batch_size=100).fit(prod_lda, train, seed=0)
        found, shares = fit.model.topics, fit.model.predict(train).mean(0)
        completion = document_completion(fit.model.word_probs, data.test["x"])
    print(fit)

    words = top_words(found, data.feature_names, 8)
    for topic in shares.argsort(descending=True).tolist():
        print(f"{shares[topic]:6.1%}  {' '.join(words[topic])}")
    print(f"perplexity of the unseen halves of {len(data.test['x'])} new documents: {completion} per word")
    print(f"coherence of the top words in the training documents (NPMI): {npmi_coherence(found, train['x'])}")

    if picture:
        from jensen.studies.pictures import save, topic_bars

        order = shares.argsort(descending=True)[:8]
        title = f"The largest of {topics} topics in {len(train['x'])} documents"
        label = "probability" if model == "lda" else "weight"
        save(topic_bars(found[order], data.feature_names, shares[order], title=title, label=label), picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, help="the most sweeps (50), or updates of ProdLDA (1500)")
    parser.add_argument("--model", choices=["lda", "prodlda"], default="lda")
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--picture", default="", help="write the largest topics' words to this file")
    main(**vars(parser.parse_args()))

"""Topics of Reuters news (or, without the `lda` package, of scikit-learn's own documentation), and how good they are.

python examples/topics.py --picture topics.png
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import pkgutil

from jensen.datasets import Dataset, reuters, texts
from jensen.inference import CAVI, document_completion, npmi_coherence
from jensen.models import LatentDirichletAllocation


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


def main(steps: int = 50, topics: int = 20, picture: str = "") -> None:
    try:
        data = reuters(test_size=0.2, seed=0)
    except ImportError:
        data = documentation()
    print(data)
    assert data.test is not None

    # Each sweep raises the bound; the factors of the topics are the guide's, those of a document follow from its words.
    model = LatentDirichletAllocation(num_topics=topics, num_words=data.num_features, alpha=0.1, eta=0.1)
    fit = CAVI(steps=steps, tolerance=1e-3).fit(model, data.select("x").train, seed=0)
    print(fit)

    shares = fit.guide.proportions(data.train["x"]).mean(0)
    words = fit.guide.top_words(data.feature_names, 8)
    for topic in shares.argsort(descending=True).tolist():
        print(f"{shares[topic]:6.1%}  {' '.join(words[topic])}")

    completion = document_completion(fit.guide.topics, data.test["x"], alpha=0.1)
    print(f"perplexity of the unseen halves of {len(data.test['x'])} new documents: {completion} per word")
    coherence = npmi_coherence(fit.guide.topics, data.train["x"])
    print(f"coherence of the top words in the training documents (NPMI): {coherence}")

    if picture:
        from jensen.studies.style import save
        from jensen.studies.topic_pictures import topic_bars

        order = shares.argsort(descending=True)[:8]
        title = f"The largest of {topics} topics in {len(data.train['x'])} documents"
        save(topic_bars(fit.guide.topics[order], data.feature_names, shares[order], title=title), picture)
        print(f"picture: {picture}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=50, help="the most sweeps")
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--picture", default="", help="write the largest topics' words to this file")
    main(**vars(parser.parse_args()))

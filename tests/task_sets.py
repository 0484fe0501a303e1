"""Made-up sets of the tasks, as files of their authors and as data sets of the hub.

Columns, types, configurations and splits are those of facebook/belebele, google/xquad and
facebook/xnli (their cards), and of openlanguagedata/flores_plus.
"""

import json

import yaml

# English and German; of the same content wherever it is written.
SENTENCES = {
    "en": ["The dog runs.", "A cat\u2028sleeps.", ' "Yes," he said. '],
    "de": ["Der Hund läuft.", "Eine Katze\u2028schläft.", "„Ja“, sagte er."],
}
QUESTIONS = [
    ("Der Hund läuft.\nEr bellt.", "Wer läuft?", ["der Hund", "Hund", "der Hund"]),
    ("Die Katze schläft.", 'Wer "schläft"?', ["die Katze"]),
]
PAIRS = [
    ('Er sagte "ja.', "Er sprach.", "entailment"),
    ("Er schlief.", "Sie aß.", "neutral"),
    ("Er schlief.", "Er war wach.", "contradiction"),
]
FLORES = {"en": "eng_Latn", "de": "deu_Latn"}
RELATIONS = ["entailment", "neutral", "contradiction"]


def belebele_rows():
    answers = ["cat", "dog", "cow", "I"]
    return [
        {
            "link": "https://example.org/dogs",
            "question_number": number,
            "flores_passage": "Der Hund läuft.",
            "question": f"Wer läuft {number} mal?",
            **{f"mc_answer{place}": text for place, text in enumerate(answers, 1)},
            "correct_answer_num": str(number),
            "dialect": "deu_Latn",
            "ds": "2023-05-03",
        }
        for number in (1, 2, 4)
    ]


def _text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_files(folder):
    """The sets below a folder in their authors' formats."""
    for language, sentences in SENTENCES.items():
        path = folder / "flores" / "devtest" / f"{FLORES[language]}.devtest"
        _text(path, "".join(f"{sentence}\n" for sentence in sentences))
    rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in belebele_rows())
    _text(folder / "belebele" / "deu_Latn.jsonl", "".join(rows))
    paragraphs = [
        {
            "context": context,
            "qas": [
                {
                    "id": "56beb4343aeaaa14008c925b",
                    "question": question,
                    "answers": [{"text": text, "answer_start": 0} for text in answers],
                }
            ],
        }
        for context, question, answers in QUESTIONS
    ]
    data = {"data": [{"title": "Dog", "paragraphs": paragraphs}], "version": "1.1"}
    _text(folder / "xquad" / "xquad.de.json", json.dumps(data, ensure_ascii=False))
    lines = ["language\tgold_label\tsentence1\tsentence2"]
    lines += [f"de\t{label}\t{first}\t{second}" for first, second, label in PAIRS]
    _text(folder / "xnli" / "xnli.test.tsv", "\n".join(lines) + "\n")


def card(folder, configs):
    """The head of README.md, which names configurations and their files."""
    listed = [
        {
            "config_name": name,
            "data_files": [{"split": split, "path": path} for split, path in files.items()],
        }
        for name, files in configs.items()
    ]
    _text(folder / "README.md", f"---\n{yaml.safe_dump({'configs': listed})}---\n# A set\n")


def write_hub(folder, datasets):
    """The sets below a folder, each as its repository on the hub; gives `tasks.hub`."""
    datasets.disable_progress_bars()
    _write_flores(folder / "flores_plus", datasets)
    _write_xquad(folder / "xquad", datasets)
    _write_xnli(folder / "xnli", datasets)
    rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in belebele_rows())
    _text(folder / "belebele" / "data" / "deu_Latn.jsonl", "".join(rows))
    card(folder / "belebele", {"deu_Latn": {"test": "data/deu_Latn.jsonl"}})
    names = {"translation": "flores_plus", "comprehension": "belebele"}
    names |= {"answering": "xquad", "inference": "xnli"}
    return {task: str(folder / name) for task, name in names.items()}


def _write_flores(folder, datasets):
    text = datasets.Value("string")
    features = {"id": datasets.Value("int64")}
    columns = ("iso_639_3", "iso_15924", "glottocode", "text", "url", "domain", "topic")
    features |= dict.fromkeys((*columns, "has_image", "has_hyperlink", "last_updated"), text)
    for split in ("dev", "devtest"):
        (folder / split).mkdir(parents=True)
        for language, sentences in SENTENCES.items():
            texts = sentences if split == "devtest" else ["Of dev."]
            columns = {name: ["?"] * len(texts) for name in features}
            columns |= {"id": list(range(len(texts))), "text": texts}
            rows = datasets.Dataset.from_dict(columns, datasets.Features(features))
            if language == "de":
                # Rows are found by their id.
                rows = rows.select(range(len(texts))[::-1])
            rows.to_parquet(folder / split / f"{FLORES[language]}.parquet")
    splits = ("dev", "devtest")
    files = {code: {part: f"{part}/{code}.parquet" for part in splits} for code in FLORES.values()}
    card(folder, files)


def _write_xquad(folder, datasets):
    text = datasets.Value("string")
    answer = {"text": text, "answer_start": datasets.Value("int32")}
    features = {"id": text, "context": text, "question": text, "answers": datasets.Sequence(answer)}
    rows = [
        {
            "id": "56beb4343aeaaa14008c925b",
            "context": context,
            "question": question,
            "answers": {"text": answers, "answer_start": [0] * len(answers)},
        }
        for context, question, answers in QUESTIONS
    ]
    found = datasets.Dataset.from_list(rows, datasets.Features(features))
    (folder / "xquad.de").mkdir(parents=True)
    found.to_parquet(folder / "xquad.de" / "validation-00000-of-00001.parquet")
    card(folder, {"xquad.de": {"validation": "xquad.de/validation-*"}})


def _write_xnli(folder, datasets):
    text = datasets.Value("string")
    label = datasets.ClassLabel(names=RELATIONS)
    features = datasets.Features({"premise": text, "hypothesis": text, "label": label})
    (folder / "de").mkdir(parents=True)
    for split, pairs in (("train", PAIRS[:1] * 5), ("test", PAIRS), ("validation", PAIRS[1:])):
        columns = {
            "premise": [first for first, _, _ in pairs],
            "hypothesis": [second for _, second, _ in pairs],
            "label": [RELATIONS.index(name) for _, _, name in pairs],
        }
        rows = datasets.Dataset.from_dict(columns, features)
        rows.to_parquet(folder / "de" / f"{split}-00000-of-00001.parquet")
    card(folder, {"de": {part: f"de/{part}-*" for part in ("train", "test", "validation")}})

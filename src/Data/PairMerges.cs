namespace SorsaOrt.Data;

/// <summary>Byte-pair merging of one word: the pair of best rank first and, of equal ranks, leftmost first, until no pair can be merged.</summary>
/// <remarks>
/// n·log n for n symbols. Microsoft.ML.Tokenizers 2.0.1 merges to the same result but looks at every pair again after each merge (200 000 letters
/// took 7 s), and for SentencePiece takes the rightmost of equal scores. Not thread-safe.
/// </remarks>
internal sealed class PairMerges(PairMerges.Rule rule)
{
    private readonly List<Symbol> _symbols = [];
    private readonly PriorityQueue<Merge, (float Rank, int Left)> _queue = new();

    /// <summary>Whether two neighbours may be merged, into what, and how soon (lowest rank first).</summary>
    public delegate bool Rule(string text, in Symbol left, in Symbol right, out int id, out float rank);

    /// <summary>A stretch of the word; Length 0: merged into its left neighbour.</summary>
    internal readonly record struct Symbol(int Start, int Length, int Id, int Previous, int Next);

    private readonly record struct Merge(int Left, int Right, int Length, int Id);

    /// <summary>Adds the next symbol of the word.</summary>
    public void Add(int start, int length, int id)
    {
        int index = _symbols.Count;
        if (index > 0)
            _symbols[index - 1] = _symbols[index - 1] with { Next = index };
        _symbols.Add(new Symbol(start, length, id, index - 1, -1));
    }

    /// <summary>Merges the symbols added and gives what remains, in order; enumerate it to its end before the next word.</summary>
    public IEnumerable<Symbol> Run(string text)
    {
        for (int i = 1; i < _symbols.Count; i++)
            Offer(text, i - 1, i);
        while (_queue.TryDequeue(out var merge, out _))
        {
            var left = _symbols[merge.Left];
            var right = _symbols[merge.Right];
            if (left.Length == 0 || right.Length == 0 || left.Length + right.Length != merge.Length)
                continue;   // one of the two has been merged elsewhere meanwhile
            _symbols[merge.Left] = left with { Length = merge.Length, Id = merge.Id, Next = right.Next };
            _symbols[merge.Right] = right with { Length = 0 };
            if (right.Next >= 0)
                _symbols[right.Next] = _symbols[right.Next] with { Previous = merge.Left };
            Offer(text, left.Previous, merge.Left);
            Offer(text, merge.Left, right.Next);
        }
        for (int i = _symbols.Count > 0 ? 0 : -1; i >= 0; i = _symbols[i].Next)
            yield return _symbols[i];
        _symbols.Clear();
    }

    private void Offer(string text, int left, int right)
    {
        if (left >= 0 && right >= 0 && rule(text, _symbols[left], _symbols[right], out int id, out float rank))
            _queue.Enqueue(new Merge(left, right, _symbols[left].Length + _symbols[right].Length, id), (rank, left));
    }
}

/// <summary>Remembers the tokens of short words: texts repeat their words.</summary>
internal sealed class WordCache
{
    private const int MostWords = 1 << 16;
    private const int LongestWord = 32;

    private readonly Dictionary<string, int[]> _words = new(StringComparer.Ordinal);
    private readonly List<int> _ids = [];

    /// <summary>The tokens of a word, encoded by <paramref name="encode"/> when it is new.</summary>
    public int[] Of(string word, Action<string, List<int>> encode)
    {
        if (_words.TryGetValue(word, out int[]? known))
            return known;
        _ids.Clear();
        encode(word, _ids);
        int[] ids = [.. _ids];
        if (word.Length <= LongestWord && _words.Count < MostWords)
            _words.Add(word, ids);
        return ids;
    }
}

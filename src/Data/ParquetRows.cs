using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.ExceptionServices;
using System.Text.Json;
using Parquet;
using Parquet.Data;
using Parquet.Schema;

namespace SorsaOrt.Data;

/// <summary>The rows of a Parquet file as JSON lines, a row group at a time, so that they are checked and read as those of any other file.</summary>
/// <remarks>Columns of text, lists of whole numbers and lists of {role, content} are read; of other columns only the name is.</remarks>
internal static class ParquetRows
{
    private const long MostRowsOfAGroup = 1 << 22;
    private static readonly TimeSpan LongestColumn = TimeSpan.FromSeconds(15);

    /// <summary>Gives one entry of a column, row by row.</summary>
    private delegate void Column(Utf8JsonWriter json, int row);

    /// <summary>Writes the rows into a file of its own, which is gone when it is closed.</summary>
    /// <exception cref="DataFormatException">It is no Parquet file, or a damaged one.</exception>
    public static FileStream ToJsonLines(FileStream parquet, string path)
    {
        var lines = new FileStream(Path.Combine(Path.GetTempPath(), Path.GetRandomFileName()), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None,
            1 << 16, FileOptions.DeleteOnClose);
        try
        {
            CheckEnds(parquet);
            var last = Stopwatch.StartNew();
            // A damaged file can send the library into an endless loop, which only waiting from outside can end.
            var work = Task.Run(() => WriteAsync(parquet, path, lines, last.Restart));
            while (!work.Wait(TimeSpan.FromSeconds(1)))
            {
                if (last.Elapsed > LongestColumn)
                    throw new FormatException($"nothing was read for {LongestColumn.TotalSeconds:0} s");
            }
            lines.Position = 0;
            return lines;
        }
        catch (Exception caught)
        {
            lines.Dispose();
            var e = caught is AggregateException { InnerException: { } inner } ? inner : caught;
            if (e is DataFormatException)
                ExceptionDispatchInfo.Throw(e);
            throw new DataFormatException(path, $"the Parquet file is damaged or of a kind that is not read ({DataFormatException.Printable(e.Message)})",
                "Write it again, or convert it to .jsonl.", e);
        }
    }

    /// <summary>PAR1 at both ends, and a footer that lies in the file.</summary>
    private static void CheckEnds(FileStream parquet)
    {
        Span<byte> ends = stackalloc byte[12];
        bool good = parquet.Length >= ends.Length;
        if (good)
        {
            parquet.ReadExactly(ends[..4]);
            parquet.Position = parquet.Length - 8;
            parquet.ReadExactly(ends[4..]);
            parquet.Position = 0;
            uint footer = BinaryPrimitives.ReadUInt32LittleEndian(ends[4..]);
            good = ends[..4].SequenceEqual("PAR1"u8) && ends[8..].SequenceEqual("PAR1"u8) && footer > 0 && footer <= parquet.Length - ends.Length;
        }
        if (!good)
            throw new FormatException("it does not begin and end as one");
    }

    private static async Task WriteAsync(FileStream parquet, string path, FileStream lines, Action progress)
    {
        await using var reader = await ParquetReader.CreateAsync(parquet, leaveStreamOpen: true).ConfigureAwait(false);
        for (int g = 0; g < reader.RowGroupCount; g++)
        {
            using var group = reader.OpenRowGroupReader(g);
            if (group.RowCount is < 0 or > MostRowsOfAGroup)
                throw new DataFormatException(path, $"row group {g} has {group.RowCount} rows; at most {MostRowsOfAGroup} are read at once", "Write the file with smaller row groups.");
            var columns = new List<(string Name, Column Write)>();
            foreach (var field in reader.Schema.Fields)
            {
                progress();
                columns.Add((field.Name, await ReadAsync(group, field, path).ConfigureAwait(false)));
            }
            for (int row = 0; row < group.RowCount; row++)
            {
                progress();
                using (var json = new Utf8JsonWriter(lines))
                {
                    json.WriteStartObject();
                    foreach (var (name, write) in columns)
                    {
                        json.WritePropertyName(name);
                        write(json, row);
                    }
                    json.WriteEndObject();
                }
                lines.WriteByte((byte)'\n');
            }
        }
    }

    private static async Task<Column> ReadAsync(ParquetRowGroupReader group, Field field, string path)
    {
        DataField[] leaves = Leaves(field);
        switch (field.Name)
        {
            case "input_ids" or "labels" when leaves is [{ MaxRepetitionLevel: 1 } leaf]:
                return Numbers(await LevelsAsync(group, leaf, path).ConfigureAwait(false));
            case "messages" when leaves.FirstOrDefault(l => l.Name == "role") is { MaxRepetitionLevel: 1 } role
                && leaves.FirstOrDefault(l => l.Name == "content") is { MaxRepetitionLevel: 1 } content:
                return Messages(await LevelsAsync(group, role, path).ConfigureAwait(false), await LevelsAsync(group, content, path).ConfigureAwait(false), field.IsNullable);
            case var name when RowParser.Texts.Contains(name) && leaves is [{ MaxRepetitionLevel: 0 } leaf] && leaf.ClrType == typeof(ReadOnlyMemory<char>):
                var texts = await LevelsAsync(group, leaf, path).ConfigureAwait(false);
                return (json, row) => json.WriteStringValue(texts.Text(texts.RowStarts[row]));
            case var name when name is "input_ids" or "labels" or "messages" || RowParser.Texts.Contains(name):
                throw new DataFormatException(path, $"the column '{field.Name}' is of another type than rows have it ({field.SchemaType}{(leaves is [{ } one] ? " of " + one.ClrType.Name : "")})",
                    "Texts are strings, input_ids and labels lists of whole numbers, messages a list of {role, content}.");
            default:
                return (json, _) => json.WriteNullValue();
        }
    }

    private static Column Numbers(Levels levels) => (json, row) =>
    {
        json.WriteStartArray();
        for (int i = levels.RowStarts[row]; i < levels.RowStarts[row + 1]; i++)
        {
            if (levels.Number(i) is { } number)
                json.WriteNumberValue(number);
        }
        json.WriteEndArray();
    };

    private static Column Messages(Levels roles, Levels contents, bool listIsNullable) => (json, row) =>
    {
        int elementLevel = listIsNullable ? 2 : 1;   // below it the list is absent or empty
        json.WriteStartArray();
        for (int i = roles.RowStarts[row]; i < roles.RowStarts[row + 1]; i++)
        {
            if (roles.DefinitionOf(i) < elementLevel)
                continue;
            json.WriteStartObject();
            json.WriteString("role", roles.Text(i));
            json.WriteString("content", contents.Text(contents.RowStarts[row] + i - roles.RowStarts[row]));
            json.WriteEndObject();
        }
        json.WriteEndArray();
    };

    private static DataField[] Leaves(Field field) => field switch
    {
        DataField leaf => [leaf],
        ListField list => Leaves(list.Item),
        StructField fields => [.. fields.Fields.SelectMany(Leaves)],
        _ => [],
    };

    private static async Task<Levels> LevelsAsync(ParquetRowGroupReader group, DataField field, string path)
    {
        using var column = await group.ReadRawColumnDataBaseAsync(field).ConfigureAwait(false);
        var levels = new Levels(field, column);
        return levels.RowStarts.Count == group.RowCount + 1 ? levels
            : throw new DataFormatException(path, $"the column '{field.Path}' has {levels.RowStarts.Count - 1} rows where {group.RowCount} are announced", "Write the file again.");
    }

    /// <summary>The entries of a column: values, and by their levels which row each belongs to and whether it is there.</summary>
    private sealed class Levels
    {
        private readonly int _present;
        private readonly int[]? _definitions;
        private readonly int[] _valueAt;
        private readonly string[]? _texts;
        private readonly long[]? _numbers;

        public Levels(DataField field, RawColumnData column)
        {
            _present = field.MaxDefinitionLevel;
            switch (column)
            {
                case RawColumnData<ReadOnlyMemory<char>> texts: _texts = [.. texts.Values.ToArray().Select(t => t.ToString())]; break;
                case RawColumnData<long> numbers: _numbers = numbers.Values.ToArray(); break;
                case RawColumnData<int> numbers: _numbers = [.. numbers.Values.ToArray().Select(n => (long)n)]; break;
                default: throw new FormatException($"the column '{field.Path}' holds {field.ClrType.Name}");
            }
            int values = _texts?.Length ?? _numbers!.Length;
            _definitions = _present > 0 ? column.DefinitionLevels.ToArray() : null;
            int[]? repetitions = field.MaxRepetitionLevel > 0 ? column.RepetitionLevels.ToArray() : null;
            _valueAt = new int[_definitions?.Length ?? values];
            int next = 0;
            for (int i = 0; i < _valueAt.Length; i++)
            {
                if (repetitions is null || repetitions[i] == 0)
                    RowStarts.Add(i);
                _valueAt[i] = DefinitionOf(i) == _present ? next++ : -1;
            }
            RowStarts.Add(_valueAt.Length);
            if (next > values)
                throw new FormatException($"the column '{field.Path}' announces {next} values and holds {values}");
        }

        /// <summary>Where each row's entries begin, and where the last one's end.</summary>
        public List<int> RowStarts { get; } = [];

        public int DefinitionOf(int entry) => _definitions?[entry] ?? 0;

        public string? Text(int entry) => _valueAt[entry] < 0 ? null
            : _texts is null ? throw new FormatException("a text column holds numbers") : _texts[_valueAt[entry]];

        public long? Number(int entry) => _valueAt[entry] < 0 ? null
            : _numbers is null ? throw new FormatException("a column of numbers holds texts") : _numbers[_valueAt[entry]];
    }
}
